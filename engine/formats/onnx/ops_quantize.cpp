// Quantization: the two rows between real and quantized tensors, and products and convolutions of quantized ones, which
// add up in i32 as ONNX wants.
#include <algorithm>
#include <numeric>

#include "engine/formats/onnx/window.h"
#include "engine/graph/build_nn.h"

namespace ml::onnx {
namespace {

using Node = const NodeContext&;
using Results = std::vector<Var>;
constexpr int kAny = kLatestOpset;

// One element is for the whole tensor, whatever its rank.
Var scalar_if_one(Var x) { return x.rank() > 0 && x.shape().known() && x.shape().elements() == 1 ? reshape(x, {}) : x; }

// Input i as a scale.
Var scale_of(Node n, std::size_t i) { return scalar_if_one(n.settled(n.in(i))); }

bool is_zero(Node n, Var x) {
  const ConstantData* value = n.graph.constant(n.settled(x).id);
  if (value == nullptr) return false;
  for (std::int64_t i = 0; i < value->shape.elements(); ++i) {
    if (element_as_double(*value, i) != 0) return false;
  }
  return true;
}

// Input i as a zero point, where it makes a difference.
Var zero_point(Node n, std::size_t i) {
  if (!n.has(i)) return {};
  const Var zero = scalar_if_one(n.settled(n.in(i)));
  return is_zero(n, zero) ? Var{} : zero;
}

// Axis and block, for a scale that is not one number.
template <class T>
void place(Node n, Var x, Var scale, T& attributes) {
  if (scale.rank() == 0) return;
  attributes.block = n.integer("block_size", 0);
  if (attributes.block < 0) n.invalid("block_size is " + std::to_string(attributes.block));
  // A vector has one axis, whatever the attribute says.
  attributes.axis = x.rank() == 1 ? 0 : normalize_axis(n.integer("axis", 1), x.rank(), "axis");
}

DType dtype_or(Node n, std::string_view attribute, DType otherwise) {
  return n.integer(attribute, 0) != 0 ? n.dtype(attribute, otherwise) : otherwise;
}

// A dtype of scales, as one to compute in: exponents and integers are none.
DType computable(DType dtype) { return is_differentiable(dtype) ? dtype : DType::f32; }

Results quantize_linear(Node n) {
  const Var x = n.in(0), scale = scale_of(n, 1);
  QuantizeAttributes attributes;
  attributes.dtype = dtype_or(n, "output_dtype", n.has(2) ? n.in(2).dtype() : DType::u8);
  if (n.has(2) && n.in(2).dtype() != attributes.dtype) {
    n.invalid("output_dtype is " + std::string(dtype_name(attributes.dtype)) + ", the zero point is of " +
              std::string(dtype_name(n.in(2).dtype())));
  }
  attributes.saturate = n.integer("saturate", 1) != 0;
  place(n, x, scale, attributes);
  const DType precision = computable(dtype_or(n, "precision", scale.dtype()));
  return {quantize(cast(x, precision), cast(scale, precision), zero_point(n, 2), attributes)};
}

Results dequantize_linear(Node n) {
  const Var x = n.in(0), scale = scale_of(n, 1);
  if (n.has(2) && n.in(2).dtype() != x.dtype()) {
    n.invalid("the zero point is of " + std::string(dtype_name(n.in(2).dtype())) + ", the tensor of " +
              std::string(dtype_name(x.dtype())));
  }
  DequantizeAttributes attributes;
  place(n, x, scale, attributes);
  const DType precision = computable(dtype_or(n, "output_dtype", scale.dtype()));
  return {dequantize(x, cast(scale, precision), zero_point(n, 2), attributes)};
}

// The range of x, widened to hold 0, onto [0, 255].
Results dynamic_quantize_linear(Node n) {
  const Var x = n.in(0);
  const Var high = maximum(reduce_max(x), 0.0), low = minimum(reduce_min(x), 0.0);
  const Var one = scalar(n.graph, x.dtype(), 1);
  const Var scale = select(eq(high, low), one, high - low) / 255.0;
  const Var zero = cast(round(clamp(neg(low) / scale, 0, 255)), DType::u8);
  return {quantize(x, scale, zero, {}), scale, zero};
}

// What a quantized operand stands for, in units of its scale: 8-bit integers as i32, float8 as f32.
Var centred(Var x, Var zero) {
  const DType wide = is_integer(x.dtype()) ? DType::i32 : DType::f32;
  return zero ? cast(x, wide) - cast(zero, wide) : cast(x, wide);
}

// A vector with a number for each row of a matrix, as one that broadcasts over it.
Var per_row(Var parameter, Var matrix) {
  return parameter && parameter.rank() == 1 && matrix.rank() > 1 ? unsqueeze(parameter, {-1}) : parameter;
}
// A vector with a number for each channel, as one that broadcasts over [C, ...] or, with channels second, [N, C, ...].
Var per_channel(Var parameter, int channel, int rank) {
  if (!parameter || parameter.rank() == 0) return parameter;
  Ints others(static_cast<std::size_t>(rank));
  std::iota(others.begin(), others.end(), 0);
  std::erase(others, channel);
  return unsqueeze(parameter, others);
}

// A sum of products, in units of `scale`, in the dtype of input i, the zero point of the result.
Var requantized(Node n, Var sum, Var scale, std::size_t i) {
  QuantizeAttributes attributes;
  attributes.dtype = n.in(i).dtype();
  const Var y = cast(sum, DType::f32) * cast(scale, DType::f32);
  const Var zero = zero_point(n, i);
  if (zero && zero.rank() != 0) n.unsupported("a zero point of the result that is not one number");
  return quantize(y, scalar(n.graph, DType::f32, 1), zero, attributes);
}

Results matmul_integer(Node n) {
  const Var a = n.in(0), b = n.in(1);
  return {matmul(centred(a, per_row(zero_point(n, 2), a)), centred(b, zero_point(n, 3)))};
}

Results qlinear_matmul(Node n) {
  const Var a = n.in(0), b = n.in(3);
  const Var product = matmul(centred(a, per_row(zero_point(n, 2), a)), centred(b, zero_point(n, 5)));
  const Var scale = per_row(scale_of(n, 1), a) * scale_of(n, 4) / scale_of(n, 6);
  return {requantized(n, product, scale, 7)};
}

Var integer_convolution(Node n, Var x, Var weight, Var x_zero, Var weight_zero, Var bias) {
  const Window w = window_of(n, kernel_shape_or_weights(n, weight));
  Var wide = centred(x, x_zero);
  if (w.pads_first()) wide = padded(n, wide, w.pads, "constant", scalar(n.graph, wide.dtype(), 0));
  return convolution(wide, centred(weight, per_channel(weight_zero, 0, weight.rank())), bias, w.windows,
                     n.integer("group", 1));
}

Results conv_integer(Node n) {
  return {integer_convolution(n, n.in(0), n.in(1), zero_point(n, 2), zero_point(n, 3), {})};
}

Results qlinear_conv(Node n) {
  const Var x = n.in(0), weight = n.in(3);
  const Var sum = integer_convolution(n, x, weight, zero_point(n, 2), zero_point(n, 5), n.has(8) ? n.in(8) : Var{});
  const Var scale = scale_of(n, 1) * per_channel(scale_of(n, 4), 1, x.rank()) / scale_of(n, 6);
  return {requantized(n, sum, scale, 7)};
}

constexpr Operator kOperators[] = {
    {"ConvInteger", 10, kAny, conv_integer},
    {"DequantizeLinear", 10, kAny, dequantize_linear},
    {"DynamicQuantizeLinear", 11, kAny, dynamic_quantize_linear},
    {"MatMulInteger", 10, kAny, matmul_integer},
    {"QLinearConv", 10, kAny, qlinear_conv},
    {"QLinearMatMul", 10, kAny, qlinear_matmul},
    {"QuantizeLinear", 10, kAny, quantize_linear},
};

}  // namespace

std::span<const Operator> quantize_operators() { return kOperators; }

}  // namespace ml::onnx
