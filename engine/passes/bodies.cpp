#include "engine/passes/bodies.h"

#include <algorithm>
#include <memory>
#include <numeric>
#include <string>

#include "engine/graph/build.h"
#include "engine/graph/ops/control.h"
#include "ml/error.h"

namespace ml::passes {
namespace {

using Types = std::span<const TensorType>;

GraphPtr bound_to(const GraphPtr& body, std::span<const Shape> shapes, const Evaluate& evaluate) {
  bool fits = body->bound() && body->inputs().size() == shapes.size();
  for (std::size_t i = 0; fits && i < shapes.size(); ++i) fits = body->type(body->inputs()[i].value).shape == shapes[i];
  return fits ? body : std::make_shared<const Graph>(bind_body(*body, shapes, evaluate));
}

// A branch that doesn't fit these shapes may be the one that isn't taken: the condition will tell.
GraphPtr branch_bound_to(const GraphPtr& body, std::span<const Shape> shapes, const Evaluate& evaluate) {
  try {
    return bound_to(body, shapes, evaluate);
  } catch (const Error& error) {
    if (error.code() != Code::invalid_argument) throw;
    return body;
  }
}

Shape without_first_axis(const Shape& shape) { return shape.rank() == 0 ? shape : Shape(shape.dims().subspan(1)); }

std::vector<ValueId> add_inputs(Graph& graph, Types types) {
  std::vector<ValueId> ids;
  for (const TensorType& type : types) ids.push_back(graph.add_input("x" + std::to_string(ids.size()), type));
  return ids;
}
void add_outputs(Graph& graph, std::span<const ValueId> values) {
  for (const ValueId value : values) graph.add_output("y" + std::to_string(graph.outputs().size()), value);
}
std::vector<ValueId> consecutive(ValueId first, std::size_t count) {
  std::vector<ValueId> values(count);
  std::iota(values.begin(), values.end(), first);
  return values;
}
bool same_types(const Graph& body, Types types) {
  for (std::size_t i = 0; i < types.size(); ++i) {
    if (body.type(body.outputs()[i].value) != types[i]) return false;
  }
  return true;
}

Graph inlined(const BodyAttributes& call, Types types) {
  Graph graph;
  add_outputs(graph, inline_graph(graph, *call.body, add_inputs(graph, types)));
  return graph;
}

// if (condition) { one turn; the loop again } else { what there is }
Graph one_turn(const WhileAttributes& loop, const Node& node, Types types) {
  const auto carried = static_cast<std::size_t>(loop.carried);
  auto branch = std::make_shared<IfAttributes>();
  auto then_body = std::make_shared<Graph>(), else_body = std::make_shared<Graph>();
  std::vector<ValueId> values = add_inputs(*then_body, types);
  std::ranges::copy(inline_graph(*then_body, *loop.body, values), values.begin());
  const ValueId first = then_body->add(*node.op, node.attributes, values);
  add_outputs(*then_body, consecutive(first, carried));
  add_inputs(*else_body, types);
  for (std::size_t i = 0; i < carried; ++i) add_outputs(*else_body, std::span(&else_body->inputs()[i].value, 1));
  branch->then_body = std::move(then_body);
  branch->else_body = std::move(else_body);

  Graph graph;
  std::vector<ValueId> operands = add_inputs(graph, types);
  const ValueId condition = inline_graph(graph, *loop.condition, operands).at(0);
  operands.insert(operands.begin(), condition);
  const ValueId result = graph.add(find_op("if"), std::move(branch), operands);
  add_outputs(graph, consecutive(result, carried));
  return graph;
}

constexpr std::int64_t kMostTurns = 4096;

Graph all_turns(const ScanAttributes& loop, std::int64_t turns, Types types) {
  if (turns > kMostTurns) {
    throw Error(Code::unsupported, "scan: values decide shapes inside, and it makes " + std::to_string(turns) +
                                       " turns, at most " + std::to_string(kMostTurns) + " can be taken apart");
  }
  const auto carried = static_cast<std::size_t>(loop.carried), scanned = static_cast<std::size_t>(loop.scanned);
  Graph graph;
  const std::vector<ValueId> inputs = add_inputs(graph, types);
  std::vector<ValueId> arguments = inputs;
  std::vector<std::vector<Var>> stacked(loop.body->outputs().size() - carried);
  for (std::int64_t turn = 0; turn < turns; ++turn) {
    const std::int64_t at = loop.reverse ? turns - 1 - turn : turn;
    for (std::size_t i = carried; i < carried + scanned; ++i) {
      const Var whole{&graph, inputs[i]};
      Ints starts(static_cast<std::size_t>(whole.rank()), 0), ends;
      for (const std::int64_t extent : whole.shape().dims()) ends.push_back(extent);
      starts[0] = at;
      ends[0] = at + 1;
      arguments[i] = squeeze(slice(whole, starts, ends), {0}).id;
    }
    const std::vector<ValueId> results = inline_graph(graph, *loop.body, arguments);
    std::copy_n(results.begin(), carried, arguments.begin());
    for (std::size_t i = 0; i < stacked.size(); ++i) stacked[i].push_back({&graph, results[carried + i]});
  }
  add_outputs(graph, std::span(arguments).first(carried));
  for (std::size_t i = 0; i < stacked.size(); ++i) {
    std::vector<Var>& slices = stacked[i];
    for (Var& slice : slices) slice = unsqueeze(slice, {0});
    if (loop.reverse) std::ranges::reverse(slices);
    if (slices.empty()) {
      Shape shape{0};
      const TensorType& type = loop.body->type(loop.body->outputs()[carried + i].value);
      for (const std::int64_t extent : type.shape.dims()) shape.append(extent);
      slices.push_back(full(graph, type.dtype, shape, 0));
    }
    add_outputs(graph, std::vector<ValueId>{concat(slices, 0).id});
  }
  return graph;
}

}  // namespace

BoundBodies bind_bodies(const Node& node, Types inputs, const Evaluate& evaluate) {
  std::vector<Shape> shapes;
  for (const TensorType& type : inputs) shapes.push_back(type.shape);
  if (!std::ranges::all_of(shapes, &Shape::known)) return {node.attributes, {}};
  const std::span<const Shape> all(shapes);
  if (const auto* call = dynamic_cast<const BodyAttributes*>(node.attributes.get())) {
    auto bound = std::make_shared<BodyAttributes>(*call);
    bound->body = bound_to(call->body, all, evaluate);
    if (!bound->body->bound()) return {nullptr, inlined(*call, inputs)};
    return {std::move(bound), {}};
  }
  if (const auto* branch = dynamic_cast<const IfAttributes*>(node.attributes.get())) {
    auto bound = std::make_shared<IfAttributes>(*branch);
    bound->then_body = branch_bound_to(branch->then_body, all.subspan(1), evaluate);
    bound->else_body = branch_bound_to(branch->else_body, all.subspan(1), evaluate);
    return {std::move(bound), {}};
  }
  if (const auto* loop = dynamic_cast<const WhileAttributes*>(node.attributes.get())) {
    auto bound = std::make_shared<WhileAttributes>(*loop);
    bound->condition = bound_to(loop->condition, all, evaluate);
    bound->body = bound_to(loop->body, all, evaluate);
    const bool steady = bound->condition->bound() && bound->body->bound() &&
                        same_types(*bound->body, inputs.first(static_cast<std::size_t>(loop->carried)));
    if (!steady) return {nullptr, one_turn(*loop, node, inputs)};
    return {std::move(bound), {}};
  }
  if (const auto* scan = dynamic_cast<const ScanAttributes*>(node.attributes.get())) {
    const auto first = static_cast<std::size_t>(scan->carried);
    const std::int64_t turns = scan->scanned > 0 ? shapes[first][0] : scan->length;
    for (std::size_t i = first; i < first + static_cast<std::size_t>(scan->scanned); ++i)
      shapes[i] = without_first_axis(shapes[i]);
    auto bound = std::make_shared<ScanAttributes>(*scan);
    bound->body = bound_to(scan->body, all, evaluate);
    if (!bound->body->bound() || !same_types(*bound->body, inputs.first(first)))
      return {nullptr, all_turns(*scan, turns, inputs)};
    return {std::move(bound), {}};
  }
  return {node.attributes, {}};
}

bool bodies_bound(const Node& node) {
  if (const auto* call = dynamic_cast<const BodyAttributes*>(node.attributes.get())) return call->body->bound();
  if (const auto* branch = dynamic_cast<const IfAttributes*>(node.attributes.get()))
    return branch->then_body->bound() && branch->else_body->bound();
  if (const auto* loop = dynamic_cast<const WhileAttributes*>(node.attributes.get()))
    return loop->condition->bound() && loop->body->bound();
  if (const auto* scan = dynamic_cast<const ScanAttributes*>(node.attributes.get())) return scan->body->bound();
  return true;
}

}  // namespace ml::passes
