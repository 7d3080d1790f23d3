// If: a known condition takes one branch, others become an `if` with both.
#include <array>

#include "engine/formats/onnx/subgraphs.h"
#include "engine/formats/onnx/value_operators.h"
#include "engine/graph/build_control.h"

namespace ml::onnx {
namespace {

using Node = const NodeContext&;

// An empty optional that the other branch fills holds zeros, which nobody looks at.
Value filled_like(const Value& pattern, Graph& graph) {
  Value value = pattern;
  if (value.tensor) {
    Shape shape;
    for (const std::int64_t extent : pattern.tensor.shape().dims()) shape.append(extent == kUnknown ? 0 : extent);
    value.tensor = full(graph, pattern.tensor.dtype(), shape, 0);
  }
  for (Value& element : value.elements) element = filled_like(element, graph);
  return value;
}

void fill_empty(Value& a, Graph& in_a, Value& b, Graph& in_b) {
  if (a.kind != Value::Kind::optional || b.kind != Value::Kind::optional) return;
  if (a.elements.empty() && !b.elements.empty()) a.elements = {filled_like(b.elements[0], in_a)};
  if (b.elements.empty() && !a.elements.empty()) b.elements = {filled_like(a.elements[0], in_b)};
}

void check_alike(Node n, std::span<const Value> a, std::span<const Value> b) {
  if (a.size() != b.size())
    n.invalid("its branches answer " + std::to_string(a.size()) + " and " + std::to_string(b.size()) + " values");
  for (std::size_t i = 0; i < a.size(); ++i) {
    bool alike = same_structure(a[i], b[i]);
    const std::vector<Var> x = leaves_of(a.subspan(i, 1)), y = leaves_of(b.subspan(i, 1));
    for (std::size_t k = 0; alike && k < x.size(); ++k)
      alike = x[k].dtype() == y[k].dtype() && x[k].rank() == y[k].rank();
    if (alike) continue;
    n.undecided("output " + std::to_string(i) + " is " + describe(a[i]) + " in one branch and " + describe(b[i]) +
                " in the other, and the condition is not known");
  }
}

std::vector<Value> if_operator(Node n) {
  const Subgraph then_branch = n.subgraph("then_branch"), else_branch = n.subgraph("else_branch");
  if (n.in(0).dtype() != DType::boolean) n.invalid("its condition is " + describe(n.value(0)) + ", a bool is wanted");
  if (const ConstantData* known = n.constant(0)) {
    if (known->shape.elements() != 1) n.invalid("its condition is " + known->shape.str() + ", one bool is wanted");
    return (element_as_int(*known, 0) != 0 ? then_branch : else_branch).import({}, n.target());
  }
  Target then_target(n.target().body()), else_target(n.target().body());
  std::vector<Value> on_true = then_branch.import({}, then_target), on_false = else_branch.import({}, else_target);
  for (std::size_t i = 0; i < std::min(on_true.size(), on_false.size()); ++i)
    fill_empty(on_true[i], then_target.graph, on_false[i], else_target.graph);
  check_alike(n, on_true, on_false);
  if (leaves_of(on_true).empty()) return on_true;
  const ImportedBody then_body = finish(then_target, leaves_of(on_true)),
                     else_body = finish(else_target, leaves_of(on_false));
  const std::vector<Var> captured = captured_by(std::array{&then_body, &else_body});
  const std::vector<Var> results =
      if_else(one_element(n.in(0)), close(then_body, captured), close(else_body, captured), captured);
  return with_leaves(on_true, results);
}

constexpr ValueOperator kOperators[] = {
    {"If", 1, kLatestOpset, if_operator},
};

}  // namespace

std::span<const ValueOperator> if_operators() { return kOperators; }

}  // namespace ml::onnx
