// Which operator set the exporter's nodes need.
#include <algorithm>
#include <string_view>

#include "engine/formats/onnx/export.h"
#include "engine/formats/onnx/writer.h"

namespace ml::onnx {
namespace {

struct Since {
  std::string_view op_type, attribute;  // no attribute: the operator as it is written here
  int opset;
};
constexpr Since kSince[] = {
    {"AveragePool", "dilations", 19},
    {"BitCast", "", 26},
    {"BitwiseAnd", "", 18},
    {"BitwiseNot", "", 18},
    {"BitwiseOr", "", 18},
    {"BitwiseXor", "", 18},
    {"DFT", "", 20},
    {"DequantizeLinear", "", 21},
    {"Gelu", "", 20},
    {"IsInf", "", 20},  // of all floats
    {"LayerNormalization", "", 17},
    {"QuantizeLinear", "", 21},
    {"ReduceMax", "", 18},  // with axes as an input
    {"ReduceMean", "", 18},
    {"ReduceMin", "", 18},
    {"ReduceProd", "", 18},
    {"Reshape", "allowzero", 14},
    {"ScatterElements", "reduction", 18},
    {"ScatterND", "reduction", 18},
};

}  // namespace

int opset_of(std::string_view op_type, std::string_view attribute) {
  const auto found = std::ranges::find_if(
      kSince, [&](const Since& row) { return row.op_type == op_type && row.attribute == attribute; });
  return found == std::end(kSince) ? 0 : found->opset;
}

}  // namespace ml::onnx
