// Between real numbers and the few bits that stand for them: value = (element - zero point) * scale. ONNX's
// QuantizeLinear and DequantizeLinear; products and convolutions of quantized tensors are those rows on i32.
//
// Composites, so that a backend may see a product between dequantize and quantize as what it is.
#include "engine/graph/ops/quantize.h"

#include <cmath>

#include "engine/graph/build_nn.h"
#include "engine/graph/narrow.h"
#include "engine/graph/ops/differentiate.h"
#include "engine/graph/ops/families.h"
#include "engine/graph/ops/rules.h"

namespace ml {
namespace {

using Args = const RuleArguments&;

// Input i, a scale or zero point, fits the tensor x.
void check_spread(const InferArguments& a, std::size_t i, std::int64_t axis, std::int64_t block) {
  const Shape &x = a.shape(0), &scale = a.shape(i);
  if (block < 0) rules::fail(a, "a block cannot have " + std::to_string(block) + " elements");
  if (scale.rank() == 0) return;
  const int along = rules::axis_of(a, axis);
  if (block == 0) {
    if (scale.rank() == 1 && rules::same_extent(scale[0], x[along])) return;
    rules::fail(a, "input " + std::to_string(i) + ", " + rules::text(a.inputs[i]) + ", is not one number for each of " +
                       rules::text(a.inputs[0]) + " along axis " + std::to_string(axis));
  }
  Shape wanted = x;
  if (x[along] != kUnknown) wanted[along] = x[along] / block + (x[along] % block != 0 ? 1 : 0);
  if (rules::same_shape(scale, wanted)) return;
  rules::fail(a, "input " + std::to_string(i) + ", " + rules::text(a.inputs[i]) + ", is not one number for " +
                     std::to_string(block) + " elements of " + rules::text(a.inputs[0]) + " along axis " +
                     std::to_string(axis) + ", which would be " + wanted.str());
}

bool quantized(DType dtype) {
  return dtype_info(dtype).bits <= 16 && !is_differentiable(dtype) && dtype != DType::boolean && dtype != DType::f8e8m0;
}

void check_zero_point(const InferArguments& a, DType dtype) {
  if (a.inputs.size() < 3) return;
  if (a.dtype(2) != dtype) {
    rules::fail(
        a, "the zero point is " + rules::text(a.inputs[2]) + ", the elements are " + std::string(dtype_name(dtype)));
  }
  if (!rules::same_shape(a.shape(2), a.shape(1))) {
    rules::fail(a, "scale " + rules::text(a.inputs[1]) + " and zero point " + rules::text(a.inputs[2]) +
                       " have different shapes");
  }
}

// (x, scale, zero point or none), x and scale of one floating dtype.
std::vector<TensorType> infer_quantize(const InferArguments& a) {
  const auto& attributes = a.as<QuantizeAttributes>();
  rules::want_floating(a);
  rules::want_floating(a, 1);
  if (a.dtype(1) != a.dtype(0)) {
    rules::fail(a, "operands have different dtypes: " + rules::text(a.inputs[0]) + " and " + rules::text(a.inputs[1]),
                "cast one of them");
  }
  if (!quantized(attributes.dtype))
    rules::fail(
        a, "makes integers of at most 16 bits and narrow floats, not " + std::string(dtype_name(attributes.dtype)));
  check_spread(a, 1, attributes.axis, attributes.block);
  check_zero_point(a, attributes.dtype);
  return {{attributes.dtype, a.shape(0)}};
}

// (x, scale, zero point or none) -> the scale's dtype.
std::vector<TensorType> infer_dequantize(const InferArguments& a) {
  const auto& attributes = a.as<DequantizeAttributes>();
  rules::want(a, quantized(a.dtype(0)) || a.dtype(0) == DType::i32, 0,
              "integers of at most 16 bits, i32 or a narrow float");
  rules::want_floating(a, 1);
  check_spread(a, 1, attributes.axis, attributes.block);
  check_zero_point(a, a.dtype(0));
  return {{a.dtype(1), a.shape(0)}};
}

// A scale or zero point with one element for each of x, or broadcasting to that.
Var spread(Var scale, Var x, std::int64_t axis, std::int64_t block) {
  if (scale.rank() == 0) return scale;
  if (block == 0) {
    Ints others;
    for (int i = 0; i < x.rank(); ++i) {
      if (i != axis) others.push_back(i);
    }
    return unsqueeze(scale, others);
  }
  const std::int64_t extent = x.shape()[static_cast<int>(axis)];
  if (extent == kUnknown)
    throw Error(Code::invalid_argument, "blocks of an unknown extent", {}, "bind the shapes first");
  return gather(scale, iota(*x.graph, DType::i64, {extent}, 0) / static_cast<double>(block), axis);
}

std::vector<Var> decompose_quantize(Args a) {
  const auto& attributes = a.as<QuantizeAttributes>();
  const Var x = a.inputs[0];
  const DType to = attributes.dtype, wide = dtype_info(x.dtype()).compute;
  const auto widened = [&](Var v) { return cast(spread(v, x, attributes.axis, attributes.block), wide); };
  Var y = cast(x, wide) / widened(a.inputs[1]);
  if (is_integer(to)) y = round(y);
  if (a.inputs.size() > 2) y = y + widened(a.inputs[2]);
  double low = 0, high = 0;
  if (is_integer(to)) {
    const double count = std::exp2(dtype_info(to).bits);
    low = is_signed(to) ? -count / 2 : 0;
    high = low + count - 1;
  } else {
    high = narrow::largest(to);
    low = -high;
  }
  return {cast(is_integer(to) || attributes.saturate ? clamp(y, low, high) : y, to)};
}

std::vector<Var> decompose_dequantize(Args a) {
  const auto& attributes = a.as<DequantizeAttributes>();
  const Var x = a.inputs[0], scale = a.inputs[1];
  const DType wide = dtype_info(scale.dtype()).compute;
  const auto widened = [&](Var v) { return cast(spread(v, x, attributes.axis, attributes.block), wide); };
  Var y = cast(x, wide);
  if (a.inputs.size() > 2) y = y - widened(a.inputs[2]);
  return {cast(y * widened(scale), scale.dtype())};
}

double few_flops(const InferArguments&, std::span<const TensorType> outputs) {
  return 5.0 * static_cast<double>(outputs[0].shape.elements());
}

const Op kOps[] = {
    {.name = "quantize",
     .kind = OpKind::composite,
     .min_inputs = 2,
     .max_inputs = 3,
     .infer = infer_quantize,
     .gradient = no_gradient("its result is quantized"),
     .make_attributes = attributes_of<QuantizeAttributes>,
     .decompose = decompose_quantize,
     .flops = few_flops},
    {.name = "dequantize",
     .kind = OpKind::composite,
     .min_inputs = 2,
     .max_inputs = 3,
     .infer = infer_dequantize,
     .gradient = gradient_of_decomposition<decompose_dequantize>(),
     .make_attributes = attributes_of<DequantizeAttributes>,
     .decompose = decompose_dequantize,
     .flops = few_flops},
};

std::vector<Var> operands(Var x, Var scale, Var zero_point) {
  std::vector<Var> inputs{x, scale};
  if (zero_point) inputs.push_back(zero_point);
  return inputs;
}

}  // namespace

std::span<const Op> quantize_ops() { return kOps; }

Var quantize(Var x, Var scale, Var zero_point, const QuantizeAttributes& attributes) {
  return emit("quantize", operands(x, scale, zero_point), std::make_shared<QuantizeAttributes>(attributes));
}

Var dequantize(Var x, Var scale, Var zero_point, const DequantizeAttributes& attributes) {
  return emit("dequantize", operands(x, scale, zero_point), std::make_shared<DequantizeAttributes>(attributes));
}

}  // namespace ml
