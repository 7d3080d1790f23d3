#include "engine/passes/bodies.h"

#include <memory>

#include "engine/graph/ops/control.h"

namespace ml::passes {
namespace {

GraphPtr rebind(const GraphPtr& body, std::span<const Shape> shapes, const Evaluate& evaluate) {
  bool fits = body->bound() && body->inputs().size() == shapes.size();
  for (std::size_t i = 0; fits && i < shapes.size(); ++i) fits = body->type(body->inputs()[i].value).shape == shapes[i];
  return fits ? body : std::make_shared<const Graph>(bind(*body, shapes, evaluate));
}

Shape without_first_axis(const Shape& shape) { return shape.rank() == 0 ? shape : Shape(shape.dims().subspan(1)); }

}  // namespace

AttributesPtr rebind_bodies(const Node& node, std::span<const TensorType> inputs, const Evaluate& evaluate) {
  if (node.op->kind != OpKind::control) return node.attributes;
  std::vector<Shape> shapes;
  for (const TensorType& type : inputs) shapes.push_back(type.shape);
  for (const Shape& shape : shapes) {
    if (!shape.known()) return node.attributes;
  }
  const std::span<const Shape> all(shapes);
  if (const auto* call = dynamic_cast<const BodyAttributes*>(node.attributes.get())) {
    auto bound = std::make_shared<BodyAttributes>(*call);
    bound->body = rebind(call->body, all, evaluate);
    return bound;
  }
  if (const auto* branch = dynamic_cast<const IfAttributes*>(node.attributes.get())) {
    auto bound = std::make_shared<IfAttributes>(*branch);
    bound->then_body = rebind(branch->then_body, all.subspan(1), evaluate);
    bound->else_body = rebind(branch->else_body, all.subspan(1), evaluate);
    return bound;
  }
  if (const auto* loop = dynamic_cast<const WhileAttributes*>(node.attributes.get())) {
    auto bound = std::make_shared<WhileAttributes>(*loop);
    bound->condition = rebind(loop->condition, all, evaluate);
    bound->body = rebind(loop->body, all, evaluate);
    return bound;
  }
  if (const auto* scan = dynamic_cast<const ScanAttributes*>(node.attributes.get())) {
    const auto first = static_cast<std::size_t>(scan->carried);
    for (std::size_t i = first; i < first + static_cast<std::size_t>(scan->scanned); ++i)
      shapes[i] = without_first_axis(shapes[i]);
    auto bound = std::make_shared<ScanAttributes>(*scan);
    bound->body = rebind(scan->body, all, evaluate);
    return bound;
  }
  return node.attributes;
}

}  // namespace ml::passes
