// Rows for operators that take or answer sequences and optionals, or hold subgraphs.
#pragma once

#include "engine/formats/onnx/node.h"

namespace ml::onnx {

// As Operator. Where both tables have a row, this one is taken for nodes with an input that is no tensor.
struct ValueOperator {
  std::string_view type;
  int since;
  int until;
  std::vector<Value> (*import)(const NodeContext& node);
  std::string_view domain = {};
};

std::span<const ValueOperator> if_operators();
std::span<const ValueOperator> loop_operators();
std::span<const ValueOperator> scan_operators();
std::span<const ValueOperator> list_operators();
std::span<const ValueOperator> optional_operators();

using ValueOperatorTable = std::span<const ValueOperator> (*)();
std::span<const ValueOperatorTable> value_operator_tables();
// The row for `type` at `version`, null when there is none.
const ValueOperator* find_value_operator(std::string_view domain, std::string_view type, int version);

}  // namespace ml::onnx
