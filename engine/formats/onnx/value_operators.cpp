#include "engine/formats/onnx/value_operators.h"

namespace ml::onnx {

std::span<const ValueOperatorTable> value_operator_tables() {
  static constexpr ValueOperatorTable kTables[] = {if_operators, loop_operators, optional_operators, scan_operators,
                                                   list_operators};
  return kTables;
}

const ValueOperator* find_value_operator(std::string_view domain, std::string_view type, int version) {
  for (const ValueOperatorTable table : value_operator_tables()) {
    for (const ValueOperator& row : table()) {
      if (row.type == type && row.domain == domain && row.since <= version && version <= row.until) return &row;
    }
  }
  return nullptr;
}

}  // namespace ml::onnx
