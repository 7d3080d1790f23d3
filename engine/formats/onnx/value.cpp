#include "engine/formats/onnx/value.h"

#include <algorithm>

namespace ml::onnx {

Value Value::sequence(std::vector<Value> elements) {
  Value value;
  value.kind = Kind::sequence;
  value.elements = std::move(elements);
  return value;
}

Value Value::optional(Var present, std::vector<Value> content) {
  Value value;
  value.kind = Kind::optional;
  value.tensor = present;
  value.elements = std::move(content);
  return value;
}

std::string describe(const Value& value) {
  switch (value.kind) {
    case Value::Kind::missing: break;
    case Value::Kind::tensor:
      return std::string("a tensor ") + std::string(dtype_name(value.tensor.dtype())) + value.tensor.shape().str();
    case Value::Kind::sequence: return "a sequence of " + std::to_string(value.elements.size()) + " tensors";
    case Value::Kind::optional:
      return value.elements.empty() ? "an empty optional" : "an optional of " + describe(value.elements[0]);
  }
  return "missing";
}

void append_leaves(const Value& value, std::vector<Var>& leaves) {
  if (value.tensor) leaves.push_back(value.tensor);
  for (const Value& element : value.elements) append_leaves(element, leaves);
}

std::vector<Var> leaves_of(std::span<const Value> values) {
  std::vector<Var> leaves;
  for (const Value& value : values) append_leaves(value, leaves);
  return leaves;
}

Value with_leaves(const Value& pattern, std::span<const Var>& leaves) {
  Value value = pattern;
  if (value.tensor) {
    value.tensor = leaves[0];
    leaves = leaves.subspan(1);
  }
  for (Value& element : value.elements) element = with_leaves(element, leaves);
  return value;
}

std::vector<Value> with_leaves(std::span<const Value> patterns, std::span<const Var> leaves) {
  std::vector<Value> values;
  for (const Value& pattern : patterns) values.push_back(with_leaves(pattern, leaves));
  return values;
}

bool same_structure(const Value& a, const Value& b) {
  return a.kind == b.kind && std::ranges::equal(a.elements, b.elements, same_structure);
}

}  // namespace ml::onnx
