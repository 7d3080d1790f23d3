// Writing quantization: the two rows, and products and convolutions on i32, which ONNX has of 8-bit operands.
#include <optional>
#include <vector>

#include "engine/formats/onnx/tensor.h"
#include "engine/formats/onnx/writer.h"
#include "engine/graph/ops/convolution.h"
#include "engine/graph/ops/matmul.h"
#include "engine/graph/ops/quantize.h"

namespace ml::onnx {
namespace {

using Names = const std::vector<std::string>&;

// ONNX quantizes and dequantizes floats of at most 32 bits.
bool quantizes(const Graph& graph, const Node& node) { return graph.type(node.inputs[1]).dtype != DType::f64; }

template <class T>
NamedAttributes spread_attributes(Writer& w, const Node& node) {
  NamedAttributes attributes;
  if (w.graph.type(node.inputs[1]).shape.rank() == 0) return attributes;
  attributes.emplace_back("axis", node.as<T>().axis);
  if (node.as<T>().block > 0) attributes.emplace_back("block_size", node.as<T>().block);
  return attributes;
}
void write_quantize(Writer& w, const Node& node, Names in, Names out) {
  const auto& a = node.as<QuantizeAttributes>();
  NamedAttributes attributes = spread_attributes<QuantizeAttributes>(w, node);
  attributes.emplace_back("output_dtype", std::int64_t{onnx_type_of(a.dtype)});
  attributes.emplace_back("saturate", std::int64_t{a.saturate});
  w.add("QuantizeLinear", in, attributes, out[0]);
}
void write_dequantize(Writer& w, const Node& node, Names in, Names out) {
  w.add("DequantizeLinear", in, spread_attributes<DequantizeAttributes>(w, node), out[0]);
}

// 8-bit elements and what is taken off them, of an operand that is cast(elements) or cast(elements) - cast(zero), and
// the nodes that it is made by, from the last to the first.
struct Quantized {
  ValueId elements, zero = kNoValue;
  std::vector<const Node*> nodes;
};
const Node* made_by(const Graph& graph, ValueId value, std::string_view op) {
  const Node* node = graph.producer(value);
  return node != nullptr && node->op->name == op ? node : nullptr;
}
const Node* cast_of_bytes(const Graph& graph, ValueId value) {
  const Node* cast = made_by(graph, value, "cast");
  if (cast == nullptr) return nullptr;
  const DType from = graph.type(cast->inputs[0]).dtype;
  return from == DType::i8 || from == DType::u8 ? cast : nullptr;
}
std::optional<Quantized> quantized(const Graph& graph, ValueId value) {
  if (graph.type(value).dtype != DType::i32) return std::nullopt;
  if (const Node* cast = cast_of_bytes(graph, value)) return Quantized{cast->inputs[0], kNoValue, {cast}};
  const Node* difference = made_by(graph, value, "sub");
  if (difference == nullptr) return std::nullopt;
  const Node *elements = cast_of_bytes(graph, difference->inputs[0]),
             *zero = cast_of_bytes(graph, difference->inputs[1]);
  if (elements == nullptr || zero == nullptr) return std::nullopt;
  const TensorType& type = graph.type(elements->inputs[0]);
  if (type.dtype != graph.type(zero->inputs[0]).dtype || type.shape != graph.type(value).shape) return std::nullopt;
  return Quantized{elements->inputs[0], zero->inputs[0], {difference, elements, zero}};
}
bool one_zero(const Graph& graph, const Quantized& operand) {
  return operand.zero == kNoValue || graph.type(operand.zero).shape.rank() == 0;
}
std::string zero_name(Writer& w, const Quantized& operand) {
  return operand.zero == kNoValue ? std::string() : w.name(operand.zero);
}
// Both operands and their zero points, those as far as there are any.
std::vector<std::string> integer_operands(Writer& w, const Quantized& a, const Quantized& b, std::string b_zero) {
  std::vector<std::string> names{w.name(a.elements), w.name(b.elements), zero_name(w, a), std::move(b_zero)};
  while (names.back().empty()) names.pop_back();
  return names;
}

// What makes the two operands of a product or convolution.
std::vector<const Node*> operand_nodes(const Graph& graph, const Node& node) {
  std::vector<const Node*> nodes;
  for (std::size_t i = 0; i < 2; ++i) {
    const Quantized operand = *quantized(graph, node.inputs[i]);
    nodes.insert(nodes.end(), operand.nodes.begin(), operand.nodes.end());
  }
  return nodes;
}

bool multiplies_bytes(const Graph& graph, const Node& node) {
  const auto& a = node.as<MatmulAttributes>();
  const auto left = quantized(graph, node.inputs[0]), right = quantized(graph, node.inputs[1]);
  if (a.transpose_a || a.transpose_b || !left || !right || !one_zero(graph, *left)) return false;
  return right->zero == kNoValue || graph.type(right->zero).shape.rank() <= 1;  // one for each column
}
void write_matmul_integer(Writer& w, const Node& node, Names, Names out) {
  const auto left = quantized(w.graph, node.inputs[0]), right = quantized(w.graph, node.inputs[1]);
  w.add("MatMulInteger", integer_operands(w, *left, *right, zero_name(w, *right)), {}, out[0]);
}

// What makes the zero points of weights, one for each output channel, of the vector that ONNX wants; null when they are
// not.
const Node* channel_zeros(const Graph& graph, const Quantized& weights) {
  const Node* reshape = made_by(graph, weights.zero, "reshape");
  if (reshape == nullptr || graph.type(reshape->inputs[0]).shape.rank() != 1) return nullptr;
  const Shape &zeros = graph.type(weights.zero).shape, &shape = graph.type(weights.elements).shape;
  if (!zeros.known() || zeros.rank() != shape.rank() || zeros[0] != shape[0]) return nullptr;
  return zeros.elements() == zeros[0] ? reshape : nullptr;
}
bool convolves_bytes(const Graph& graph, const Node& node) {
  const auto x = quantized(graph, node.inputs[0]), weights = quantized(graph, node.inputs[1]);
  if (!x || !weights || !one_zero(graph, *x)) return false;
  return one_zero(graph, *weights) || channel_zeros(graph, *weights) != nullptr;
}
std::vector<const Node*> convolution_nodes(const Graph& graph, const Node& node) {
  std::vector<const Node*> nodes = operand_nodes(graph, node);
  const Quantized weights = *quantized(graph, node.inputs[1]);
  if (!one_zero(graph, weights)) nodes.push_back(channel_zeros(graph, weights));
  return nodes;
}
std::string with_bias(Writer& w, const Node& node, std::string sum, Names in, const std::string& out) {
  Ints shape(static_cast<std::size_t>(w.graph.type(node.first_output).shape.rank()) - 1, 1);
  shape[0] = -1;
  return w.add("Add", {std::move(sum), w.add("Reshape", {in[2], w.integers(shape)})}, {}, out);
}
void write_conv_integer(Writer& w, const Node& node, Names in, Names out) {
  const auto x = quantized(w.graph, node.inputs[0]), weights = quantized(w.graph, node.inputs[1]);
  const std::string zeros =
      one_zero(w.graph, *weights) ? zero_name(w, *weights) : w.name(channel_zeros(w.graph, *weights)->inputs[0]);
  const NamedAttributes attributes = convolution_attributes(w, node);
  const std::vector<std::string> operands = integer_operands(w, *x, *weights, zeros);
  if (in.size() < 3) {
    w.add("ConvInteger", operands, attributes, out[0]);
  } else {
    with_bias(w, node, w.add("ConvInteger", operands, attributes), in, out[0]);
  }
}

const OpWriter kWriters[] = {
    {"quantize", write_quantize, quantizes},
    {"dequantize", write_dequantize, quantizes},
    {"matmul", write_matmul_integer, multiplies_bytes, operand_nodes},
    {"convolution", write_conv_integer, convolves_bytes, convolution_nodes},
};

}  // namespace

std::span<const OpWriter> quantized_writers() { return kWriters; }

}  // namespace ml::onnx
