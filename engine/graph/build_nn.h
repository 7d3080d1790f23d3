// Building the larger operations of neural networks; build.h holds the rest.
#pragma once

#include "engine/graph/build.h"
#include "engine/graph/ops/attention.h"
#include "engine/graph/ops/optimizer.h"
#include "engine/graph/ops/quantize.h"
#include "engine/graph/ops/windows.h"

namespace ml {

// ops/convolution.cpp. x [N, C, spatial...], weight [O, C / groups, window...], bias [O] or an empty Var; one to three
// spatial dimensions. Floating dtypes; the convolution itself also of i32, what quantized ones add up in.
Var convolution(Var x, Var weight, Var bias, Windows windows, std::int64_t groups = 1);
// dy has the shape of the result; answers [N, C, extents...].
Var convolution_input_gradient(Var dy, Var weight, Windows windows, std::int64_t groups, Ints extents);
// Answers [O, C / groups, extents...].
Var convolution_weight_gradient(Var x, Var dy, Windows windows, std::int64_t groups, Ints extents);

// ops/pooling.cpp. x [N, C, spatial...], one to three spatial dimensions; `size` of the window in each of them. Padding
// is less than what the window covers. Pooling over everything is a reduction.
Var max_pool(Var x, Ints size, Windows windows);  // padding never wins; NaN does
// dx: each window's cotangent goes to its first maximum in row-major order.
Var max_pool_gradient(Var x, Var dy, Ints size, Windows windows);
// For every window the element of `values` (of x's shape) at the place of the first maximum of x.
Var max_pool_select(Var x, Var values, Ints size, Windows windows);
Var average_pool(Var x, Ints size, Windows windows, bool count_padding = false);
// dy [N, C, counts...] -> dx [N, C, extents...].
Var average_pool_gradient(Var dy, Ints size, Windows windows, bool count_padding, Ints extents);

// ops/softmax.cpp
Var softmax(Var x, std::int64_t axis = -1);
Var log_softmax(Var x, std::int64_t axis = -1);
struct CrossEntropy {
  Var loss;         // of each example, -log softmax(logits)[label]
  Var log_sum_exp;  // of each example's logits
};
// logits [..., C] and i32 or i64 labels [...]; a label outside of [0, C) sets the execution's error flag. Not averaged.
CrossEntropy cross_entropy(Var logits, Var labels);

// ops/attention.cpp; ops/attention.h says what it means. Bias and lengths may be empty Vars.
struct Attention {
  Var y, log_sum_exp;
};
Attention attention(Var q, Var k, Var v, Var bias, Var lengths, const AttentionAttributes& attributes);

// ops/norm.cpp. Scale and bias may be empty Vars (a bias needs a scale). Statistics have the compute dtype.
struct Norm {
  Var y, mean, rstd;
};
struct BatchNorm {
  Var y, mean, variance, rstd;  // [C] but for y; the variance is biased, as it normalizes
};
BatchNorm batch_norm(Var x, Var scale, Var bias, double epsilon = 1e-5);  // x [N, C, ...], scale and bias [C]
Var batch_norm_inference(Var x, Var mean, Var variance, Var scale, Var bias, double epsilon = 1e-5);
// Over the dimensions from `axis` on, which scale and bias have; statistics keep the rank with those as 1.
Norm layer_norm(Var x, Var scale, Var bias, std::int64_t axis = -1, double epsilon = 1e-5);
// x [N, C, ...], scale and bias [C], statistics [N, groups].
Norm group_norm(Var x, std::int64_t groups, Var scale, Var bias, double epsilon = 1e-5);

// ops/detection.cpp. boxes [B, n, 4] as two opposite corners, scores [B, C, n]; `overlap` and `least` are scalars of
// their dtype. For each class the boxes with a score above `least`, the best first (the first of equals), without those
// that share more than `overlap` of their union with one that is kept; at most `most` of them (kUnknown: all n).
struct Suppression {
  Var indices;  // i64 [B, C, min(most, n)], 0 behind those that are kept
  Var counts;   // i64 [B, C]
};
Suppression non_max_suppression(Var boxes, Var scores, Var overlap, Var least, std::int64_t most = kUnknown);

// ops/fourier.cpp. x [..., n, 1] (real) or [..., n, 2] (pairs of real and imaginary part) -> [..., n, 2], or the first
// n / 2 + 1 frequencies. The inverse is divided by n.
Var dft(Var x, bool inverse = false, bool onesided = false);

// ops/random.cpp. `state` is a u64[2] (key, counter); the one that comes back goes into the next call.
struct RandomNumbers {
  Var values, state;
};
RandomNumbers random_bits(Var state, const Shape& shape);                  // u32
RandomNumbers random_uniform(Var state, DType dtype, const Shape& shape);  // in [0, 1)
RandomNumbers random_normal(Var state, DType dtype, const Shape& shape);   // mean 0, variance 1
struct Dropout {
  Var y, mask, state;  // the mask is true where x stays
};
Dropout dropout(Var x, Var state, double rate);  // what stays is scaled by 1 / (1 - rate)

// ops/quantize.cpp. Of the scale's shape: rank 0, or as the attributes say; the zero point has it too, or is an empty
// Var (then it is 0). 16-bit floats compute in f32.
//   quantize: x and scale of one floating dtype -> saturated(x / scale, of integers rounded to nearest even, + zero
//   point), in attributes.dtype dequantize: (x - zero point) * scale, in the scale's dtype
Var quantize(Var x, Var scale, Var zero_point, const QuantizeAttributes& attributes);
Var dequantize(Var x, Var scale, Var zero_point, const DequantizeAttributes& attributes = {});

// ops/optimizer.cpp. Tensors have one type; the rate is a floating scalar, the step an integer one that counts from 1.
struct SgdUpdate {
  Var parameter, velocity;
};
SgdUpdate sgd_momentum_update(Var parameter, Var gradient, Var velocity, Var rate, const SgdAttributes& attributes);
struct AdamUpdate {
  Var parameter, m, v;
};
AdamUpdate adam_update(Var parameter, Var gradient, Var m, Var v, Var rate, Var step, const AdamAttributes& attributes);

}  // namespace ml
