// Operations on tensors. Shapes and dtypes are checked when a function is called: what does not fit throws
// invalid_argument, naming the operation and the shapes.
//
// Broadcasting is NumPy's: shapes are aligned at their last axis, and an extent of 1 (or a missing one) stretches.
//
// Dtypes of two operands meet in the narrowest dtype that holds both:
//   - bool < integers < floating: a higher kind wins whatever the widths are (i64 with f16 is f16)
//   - two floating dtypes: the wider one; f16 with bf16 is f32
//   - two integers of one signedness: the wider one; of two: the signed one that holds both (u8 with i8 is i16); u64
//     with a signed dtype throws, because nothing holds both
//   - a narrow dtype (float8, 4 and 2 bits) meets no other: convert it with to(); nothing but movement, selection and
//     comparison for equality takes it
//   - a Scalar (a plain number) takes the tensor's dtype unless its kind is higher: then i64 or f32
// `/`, mean() and functions like exp() answer f32 for bools and integers.
#pragma once

#include <span>
#include <utility>
#include <vector>

#include "ml/tensor.h"

namespace ml {

using Axes = std::vector<std::int64_t>;

// --- element-wise, two operands ----------------------------------------------------------------------------------
#define ML_TENSOR_BINARY(name)                          \
  ML_API Tensor name(const Tensor& a, const Tensor& b); \
  ML_API Tensor name(const Tensor& a, Scalar b);        \
  ML_API Tensor name(Scalar a, const Tensor& b);
ML_TENSOR_BINARY(add)
ML_TENSOR_BINARY(sub)
ML_TENSOR_BINARY(mul)
ML_TENSOR_BINARY(div)        // true division
ML_TENSOR_BINARY(trunc_div)  // rounds towards zero; integer division by zero is 0
ML_TENSOR_BINARY(fmod)       // a - b * trunc_div(a, b): the sign of a
ML_TENSOR_BINARY(pow)
ML_TENSOR_BINARY(maximum)  // NaN wins
ML_TENSOR_BINARY(minimum)  // NaN wins
ML_TENSOR_BINARY(atan2)
// Comparisons answer bool.
ML_TENSOR_BINARY(eq)
ML_TENSOR_BINARY(ne)
ML_TENSOR_BINARY(lt)
ML_TENSOR_BINARY(le)
ML_TENSOR_BINARY(gt)
ML_TENSOR_BINARY(ge)
// Logical on bools, bit by bit on integers.
ML_TENSOR_BINARY(bit_and)
ML_TENSOR_BINARY(bit_or)
ML_TENSOR_BINARY(bit_xor)
ML_TENSOR_BINARY(shift_left)
ML_TENSOR_BINARY(shift_right)
#undef ML_TENSOR_BINARY

#define ML_TENSOR_OPERATOR(symbol, name)                                                 \
  inline Tensor operator symbol(const Tensor& a, const Tensor& b) { return name(a, b); } \
  inline Tensor operator symbol(const Tensor& a, Scalar b) { return name(a, b); }        \
  inline Tensor operator symbol(Scalar a, const Tensor& b) { return name(a, b); }
ML_TENSOR_OPERATOR(+, add)
ML_TENSOR_OPERATOR(-, sub)
ML_TENSOR_OPERATOR(*, mul)
ML_TENSOR_OPERATOR(/, div)
ML_TENSOR_OPERATOR(%, fmod)
ML_TENSOR_OPERATOR(==, eq)
ML_TENSOR_OPERATOR(!=, ne)
ML_TENSOR_OPERATOR(<, lt)
ML_TENSOR_OPERATOR(<=, le)
ML_TENSOR_OPERATOR(>, gt)
ML_TENSOR_OPERATOR(>=, ge)
ML_TENSOR_OPERATOR(&, bit_and)
ML_TENSOR_OPERATOR(|, bit_or)
ML_TENSOR_OPERATOR(^, bit_xor)
#undef ML_TENSOR_OPERATOR

// --- element-wise, one operand -----------------------------------------------------------------------------------
ML_API Tensor operator-(const Tensor& x);
ML_API Tensor operator~(const Tensor& x);  // not
ML_API Tensor neg(const Tensor& x);
ML_API Tensor abs(const Tensor& x);
ML_API Tensor sign(const Tensor& x);
ML_API Tensor square(const Tensor& x);
ML_API Tensor exp(const Tensor& x);
ML_API Tensor expm1(const Tensor& x);
ML_API Tensor log(const Tensor& x);
ML_API Tensor log1p(const Tensor& x);
ML_API Tensor sqrt(const Tensor& x);
ML_API Tensor rsqrt(const Tensor& x);
ML_API Tensor reciprocal(const Tensor& x);
ML_API Tensor sin(const Tensor& x);
ML_API Tensor cos(const Tensor& x);
ML_API Tensor tan(const Tensor& x);
ML_API Tensor asin(const Tensor& x);
ML_API Tensor acos(const Tensor& x);
ML_API Tensor atan(const Tensor& x);
ML_API Tensor sinh(const Tensor& x);
ML_API Tensor cosh(const Tensor& x);
ML_API Tensor tanh(const Tensor& x);
ML_API Tensor erf(const Tensor& x);
ML_API Tensor sigmoid(const Tensor& x);
ML_API Tensor floor(const Tensor& x);
ML_API Tensor ceil(const Tensor& x);
ML_API Tensor round(const Tensor& x);  // halves to even
ML_API Tensor is_nan(const Tensor& x);
ML_API Tensor is_inf(const Tensor& x);
ML_API Tensor relu(const Tensor& x);
ML_API Tensor gelu(const Tensor& x, bool tanh_approximation = false);  // Hendrycks and Gimpel, arXiv 1606.08415
ML_API Tensor silu(const Tensor& x);
ML_API Tensor clamp(const Tensor& x, Scalar low, Scalar high);

// condition ? on_true : on_false, element by element; condition is bool.
ML_API Tensor where(const Tensor& condition, const Tensor& on_true, const Tensor& on_false);
ML_API Tensor where(const Tensor& condition, const Tensor& on_true, Scalar on_false);
ML_API Tensor where(const Tensor& condition, Scalar on_true, const Tensor& on_false);

// --- linear algebra ----------------------------------------------------------------------------------------------

// [..., m, k] x [..., k, n] -> [..., m, n]; leading axes broadcast. A vector on the left is a row and on the right a
// column; the axis that this adds is dropped from the result.
ML_API Tensor matmul(const Tensor& a, const Tensor& b);

// --- reductions: no axes means all of them -----------------------------------------------------------------------

ML_API Tensor sum(const Tensor& x, const Axes& axes = {}, bool keep_dims = false);  // bools and integers sum as i64
ML_API Tensor mean(const Tensor& x, const Axes& axes = {}, bool keep_dims = false);
ML_API Tensor var(const Tensor& x, const Axes& axes = {}, bool unbiased = true, bool keep_dims = false);
ML_API Tensor prod(const Tensor& x, const Axes& axes = {}, bool keep_dims = false);
ML_API Tensor max(const Tensor& x, const Axes& axes = {}, bool keep_dims = false);
ML_API Tensor min(const Tensor& x, const Axes& axes = {}, bool keep_dims = false);
ML_API Tensor argmax(const Tensor& x, int axis = -1, bool keep_dims = false);  // i64; the first of equals
ML_API Tensor argmin(const Tensor& x, int axis = -1, bool keep_dims = false);
ML_API Tensor cumsum(const Tensor& x, int axis);
// All elements are close: |a - b| <= absolute + relative * |b|. Evaluates.
ML_API bool allclose(const Tensor& a, const Tensor& b, double relative = 1e-5, double absolute = 1e-8);

// --- shapes ------------------------------------------------------------------------------------------------------

ML_API Tensor reshape(const Tensor& x, const Shape& shape);  // one extent may be -1: inferred
ML_API Tensor flatten(const Tensor& x, int first = 0, int last = -1);
ML_API Tensor permute(const Tensor& x, const Axes& order);
ML_API Tensor transpose(const Tensor& x, int axis0, int axis1);
ML_API Tensor squeeze(const Tensor& x, int axis);
ML_API Tensor unsqueeze(const Tensor& x, int axis);  // axis of the result
ML_API Tensor broadcast_to(const Tensor& x, const Shape& shape);
ML_API Tensor cat(std::span<const Tensor> parts, int axis = 0);
ML_API Tensor cat(std::initializer_list<Tensor> parts, int axis = 0);
ML_API Tensor stack(std::span<const Tensor> parts, int axis = 0);  // equal shapes, along a new axis
ML_API Tensor stack(std::initializer_list<Tensor> parts, int axis = 0);
ML_API Tensor slice(const Tensor& x, int axis, std::int64_t start, std::int64_t end, std::int64_t step = 1);
ML_API Tensor pad(const Tensor& x, const Axes& low, const Axes& high, double value = 0);  // one pair per axis
ML_API Tensor flip(const Tensor& x, const Axes& axes);

// --- indexing: i32 or i64 indices, negative ones count from the end; an index outside makes evaluation throw ---------

// x.shape with `axis` replaced by indices.shape.
ML_API Tensor take(const Tensor& x, const Tensor& indices, int axis = 0);
// As torch.gather: indices has x's rank; the result has indices' shape.
ML_API Tensor gather(const Tensor& x, const Tensor& indices, int axis);
// x plus `updates` added at `indices`, as torch.scatter_add.
ML_API Tensor scatter_add(const Tensor& x, const Tensor& indices, const Tensor& updates, int axis);
// Values and i64 indices; equal elements keep their order.
ML_API std::pair<Tensor, Tensor> sort(const Tensor& x, int axis = -1, bool descending = false);
ML_API std::pair<Tensor, Tensor> topk(const Tensor& x, std::int64_t k, int axis = -1, bool largest = true);

// --- neural networks ---------------------------------------------------------------------------------------------

ML_API Tensor softmax(const Tensor& x, int axis = -1);
ML_API Tensor log_softmax(const Tensor& x, int axis = -1);
// logits [N, C, ...] floating, targets [N, ...] i32 or i64 class indices; the mean over all targets, rank 0.
ML_API Tensor cross_entropy(const Tensor& logits, const Tensor& targets);
ML_API Tensor mse_loss(const Tensor& prediction, const Tensor& target);

// One to three spatial dimensions, chosen by the rank of x; a list of one value applies to all of them.
struct ConvolutionOptions {
  Axes stride = {1};
  Axes padding = {0};  // on both sides of each dimension
  Axes dilation = {1};
  std::int64_t groups = 1;
};
// x [N, C, spatial...], weight [O, C / groups, window...], bias [O] or undefined -> [N, O, spatial...]
ML_API Tensor convolution(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
                          const ConvolutionOptions& options = {});
struct PoolOptions {
  Axes stride = {};  // empty: the window's size
  Axes padding = {0};
  Axes dilation = {1};
};
ML_API Tensor max_pool(const Tensor& x, const Axes& size, const PoolOptions& options = {});
ML_API Tensor avg_pool(const Tensor& x, const Axes& size, const PoolOptions& options = {});  // counts padding

// (x - mean) / sqrt(variance + epsilon) * weight + bias with statistics of the last `weight.rank()` axes.
ML_API Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double epsilon = 1e-5);
// The same with given statistics [C] of axis 1.
ML_API Tensor batch_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& mean,
                         const Tensor& variance, double epsilon = 1e-5);
struct BatchNormResult {
  Tensor output, mean, variance;  // variance divides by the count (biased)
};
// The same with the statistics of this batch.
ML_API BatchNormResult batch_norm_training(const Tensor& x, const Tensor& weight, const Tensor& bias,
                                           double epsilon = 1e-5);
// weight [rows, width], indices of any shape -> indices.shape + [width]
ML_API Tensor embedding(const Tensor& weight, const Tensor& indices);

}  // namespace ml
