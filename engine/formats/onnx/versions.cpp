// Which operator set the exporter's nodes need.
#include <algorithm>
#include <string_view>

#include "engine/formats/onnx/export.h"
#include "engine/formats/onnx/writer.h"

namespace ml::onnx {
namespace {

// What came later, in the form that is written here.
struct Operators {
  int opset;
  std::string_view types;  // a space on both sides of each
};
constexpr Operators kOperators[] = {
    {8, " Expand Max Min "},
    {9, " Cosh Erf IsNaN Scan Sign Sinh Where "},
    {10, " ConvInteger IsInf MatMulInteger Mod Slice "},
    {11, " BitShift Clip CumSum Gather GatherElements GatherND Gemm If Loop NonMaxSuppression Pad Range Round "},
    {11, " ScatterElements ScatterND TopK "},
    {12, " GreaterOrEqual LessOrEqual "},
    {17, " DFT LayerNormalization "},
    {18, " BitwiseAnd BitwiseNot BitwiseOr BitwiseXor "},
    {20, " Gelu "},
    {21, " DequantizeLinear QuantizeLinear "},
    {26, " BitCast "},
};
struct NamedAttribute {
  std::string_view op_type, attribute;
  int opset;
};
constexpr NamedAttribute kAttributes[] = {
    {"AveragePool", "dilations", 19},     {"MaxPool", "dilations", 10},   {"Reshape", "allowzero", 14},
    {"ScatterElements", "reduction", 18}, {"ScatterND", "reduction", 18},
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
    {"ReduceMin", 1, "axes", 17}, {"ReduceProd", 1, "axes", 17}, {"ReduceSum", 1, "axes", 12},
    {"Squeeze", 1, "axes", 12},   {"Unsqueeze", 1, "axes", 12},
};

// Element types that came later than the operator that a row is written as.
struct ElementTypes {
  std::string_view row;
  bool (*are)(DType dtype);
  int opset;
};
bool whole(DType dtype) { return is_integer(dtype); }
bool narrower(DType dtype) { return is_integer(dtype) && dtype_info(dtype).bits < 32; }
bool half(DType dtype) { return dtype == DType::f16; }
bool rarely_compared(DType dtype) { return dtype != DType::boolean && dtype != DType::i32 && dtype != DType::i64; }
constexpr ElementTypes kElementTypes[] = {
    {"add", narrower, 14},
    {"sub", narrower, 14},
    {"mul", narrower, 14},
    {"div", narrower, 14},
    {"relu", whole, 14},
    {"cumsum", half, 14},
    {"is_inf", half, 20},
    {"maximum", whole, 12},
    {"minimum", whole, 12},
    {"reduce_max", narrower, 12},
    {"reduce_min", narrower, 12},
    {"lt", whole, 9},
    {"gt", whole, 9},
    {"matmul", whole, 9},
    {"eq", rarely_compared, 11},
    {"ne", rarely_compared, 11},
    {"pad", [](DType dtype) { return dtype == DType::boolean; }, 13},
};

}  // namespace

int opset_of(DType dtype) {
  switch (dtype) {
    case DType::i4:
    case DType::u4: return 21;
    case DType::f4e2m1: return 23;
    case DType::f8e8m0: return 24;
    case DType::i2:
    case DType::u2: return 25;
    default: return is_narrow(dtype) || dtype == DType::bf16 ? kExportOpset : kEarliestOpset;
  }
}

const char* attribute_of_input(std::string_view op_type, std::size_t i, int opset) {
  const auto found =
      std::ranges::find_if(kForms, [&](const Form& form) { return form.op_type == op_type && form.input == i; });
  return found == std::end(kForms) || opset > found->until ? nullptr : found->attribute;
}

int opset_of(std::string_view op_type) {
  const std::string word = " " + std::string(op_type) + " ";
  const auto found = std::ranges::find_if(
      kOperators, [&](const Operators& row) { return row.types.find(word) != std::string_view::npos; });
  return found == std::end(kOperators) ? 0 : found->opset;
}
int opset_of(std::string_view op_type, std::string_view attribute) {
  const auto found = std::ranges::find_if(
      kAttributes, [&](const NamedAttribute& row) { return row.op_type == op_type && row.attribute == attribute; });
  return found == std::end(kAttributes) ? 0 : found->opset;
}

int opset_of_types(const Graph& graph, const Node& node) {
  int opset = kEarliestOpset;
  for (std::uint32_t i = 0; i < node.output_count; ++i)
    opset = std::max(opset, opset_of(graph.type(node.output(i)).dtype));
  if (node.inputs.empty()) return opset;
  const TensorType& type = graph.type(node.inputs[0]);
  opset = std::max(opset, opset_of(type.dtype));
  for (const ElementTypes& row : kElementTypes) {
    if (row.row == node.op->name && row.are(type.dtype)) opset = std::max(opset, row.opset);
  }
  // Before, all dimensions from the axis on were one.
  const bool is_softmax = node.op->name == "softmax" || node.op->name == "log_softmax";
  return is_softmax && node.as<AxisAttributes>().axis != type.shape.rank() - 1 ? std::max(opset, 13) : opset;
}

}  // namespace ml::onnx
