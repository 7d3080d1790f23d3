// Optionals. Whether one holds something is a bool of the graph, which is known but where the branches of an If differ.
#include "engine/formats/onnx/value_operators.h"

namespace ml::onnx {
namespace {

using Node = const NodeContext&;
using Values = std::vector<Value>;

Values optional(Node n) {
  const bool present = n.has(0);
  if (present && n.value(0).kind == Value::Kind::optional) n.invalid("an optional of " + describe(n.value(0)));
  const Var flag = scalar(n.graph, DType::boolean, present ? 1 : 0);
  return {Value::optional(flag, present ? Values{n.value(0)} : Values{})};
}

// Tensors and sequences are there, always.
Values has_element(Node n) {
  const Value& value = n.value(0);
  if (value.kind == Value::Kind::optional) return {value.tensor};
  return {scalar(n.graph, DType::boolean, n.has(0) ? 1 : 0)};
}

Values get_element(Node n) {
  if (!n.has(0)) n.invalid("input 0 is missing");
  const Value& value = n.value(0);
  if (value.kind != Value::Kind::optional) return {value};
  if (value.elements.empty()) n.invalid("the optional is empty");
  return {value.elements[0]};
}

Values identity(Node n) { return {n.value(0)}; }

constexpr ValueOperator kOperators[] = {
    {"Identity", 14, kLatestOpset, identity},
    {"Optional", 15, kLatestOpset, optional},
    {"OptionalGetElement", 15, kLatestOpset, get_element},
    {"OptionalHasElement", 15, kLatestOpset, has_element},
};

}  // namespace

std::span<const ValueOperator> optional_operators() { return kOperators; }

}  // namespace ml::onnx
