#include "engine/graph/op.h"

#include <algorithm>
#include <string>
#include <unordered_map>

#include "engine/graph/limits.h"
#include "engine/graph/ops/families.h"
#include "ml/error.h"

namespace ml {
namespace {

double tensor_bytes(const TensorType& type) {
  return type.shape.known() ? static_cast<double>(type.shape.elements()) * static_cast<double>(dtype_size(type.dtype))
                            : 0;
}

const std::unordered_map<std::string_view, const Op*>& by_name() {
  static const auto table = [] {
    std::unordered_map<std::string_view, const Op*> map;
    for (const Op* op : all_ops()) map.emplace(op->name, op);
    return map;
  }();
  return table;
}

}  // namespace

std::span<const Op* const> all_ops() {
  static const std::vector<const Op*> table = [] {
    std::vector<const Op*> rows;
    for (const Family family : kFamilies) {
      for (const Op& op : family()) rows.push_back(&op);
    }
    return rows;
  }();
  return table;
}

const Op* lookup_op(std::string_view name) noexcept {
  const auto found = by_name().find(name);
  return found == by_name().end() ? nullptr : found->second;
}

const Op& find_op(std::string_view name) {
  if (const Op* op = lookup_op(name)) return *op;
  throw Error(Code::not_found, "there is no op '" + std::string(name) + "'");
}

std::vector<TensorType> infer(const Op& op, std::span<const TensorType> inputs, const Attributes& attributes) {
  const bool variadic = op.max_inputs == kVariadic;
  if (inputs.size() < op.min_inputs || (!variadic && inputs.size() > op.max_inputs)) {
    std::string wanted = std::to_string(op.min_inputs);
    if (variadic)
      wanted += " or more";
    else if (op.max_inputs != op.min_inputs)
      wanted += " to " + std::to_string(op.max_inputs);
    throw Error(Code::invalid_argument,
                std::string(op.name) + ": takes " + wanted + " inputs, not " + std::to_string(inputs.size()));
  }
  std::vector<TensorType> outputs = op.infer({op.name, inputs, attributes});
  for (const TensorType& type : outputs) check_type(type, op.name);  // so that products of extents overflow nowhere
  return outputs;
}

Cost cost(const Op& op, std::span<const TensorType> inputs, std::span<const TensorType> outputs,
          const Attributes& attributes) {
  Cost result;
  for (const TensorType& type : inputs) result.bytes += tensor_bytes(type);
  for (const TensorType& type : outputs) result.bytes += tensor_bytes(type);
  if (op.flops != nullptr) {
    result.flops = op.flops({op.name, inputs, attributes}, outputs);
  } else {
    for (const TensorType& type : outputs) result.flops += static_cast<double>(type.shape.elements());
  }
  return result;
}

}  // namespace ml
