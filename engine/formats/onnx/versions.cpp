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
    {"DFT", "", 17},
    {"DequantizeLinear", "", 21},
    {"Gelu", "", 20},
    {"LayerNormalization", "", 17},
    {"QuantizeLinear", "", 21},
    {"Reshape", "allowzero", 14},
    {"ScatterElements", "reduction", 18},
    {"ScatterND", "reduction", 18},
};

// Inputs that were attributes before.
struct Form {
  std::string_view op_type;
  std::size_t input;
  const char* attribute;
  int until;
};
constexpr Form kForms[] = {
    {"DFT", 2, "axis", 19},       {"ReduceMax", 1, "axes", 17},  {"ReduceMean", 1, "axes", 17},
    {"ReduceMin", 1, "axes", 17}, {"ReduceProd", 1, "axes", 17},
};

}  // namespace

const char* attribute_of_input(std::string_view op_type, std::size_t i, int opset) {
  const auto found =
      std::ranges::find_if(kForms, [&](const Form& form) { return form.op_type == op_type && form.input == i; });
  return found == std::end(kForms) || opset > found->until ? nullptr : found->attribute;
}

int opset_of(std::string_view op_type, std::string_view attribute) {
  const auto found = std::ranges::find_if(
      kSince, [&](const Since& row) { return row.op_type == op_type && row.attribute == attribute; });
  return found == std::end(kSince) ? 0 : found->opset;
}

}  // namespace ml::onnx
