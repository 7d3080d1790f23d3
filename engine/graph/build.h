// Building graphs in the words of the field: gradient rules, decompositions, importers and tests are written with
// these.
//
// A Var is a value of a graph. Functions append nodes to the graph of their first operand and answer the result.
// Element-wise functions broadcast like NumPy and want equal dtypes; a double operand becomes a constant of the other's
// dtype.
#pragma once

#include <string_view>
#include <utility>
#include <vector>

#include "engine/graph/graph.h"
#include "engine/graph/ops/indexing.h"

namespace ml {

struct Var {
  Graph* graph = nullptr;
  ValueId id = kNoValue;

  explicit operator bool() const { return graph != nullptr; }
  const TensorType& type() const { return graph->type(id); }
  const Shape& shape() const { return graph->type(id).shape; }
  DType dtype() const { return graph->type(id).dtype; }
  int rank() const { return shape().rank(); }
};

// Appends a node of op `name`; emit answers its first output, emit_all every output.
Var emit(std::string_view name, std::span<const Var> inputs, AttributesPtr attributes = nullptr);
std::vector<Var> emit_all(std::string_view name, std::span<const Var> inputs, AttributesPtr attributes = nullptr);
inline Var emit(std::string_view name, std::initializer_list<Var> inputs, AttributesPtr attributes = nullptr) {
  return emit(name, std::span(inputs.begin(), inputs.size()), std::move(attributes));
}
inline std::vector<Var> emit_all(std::string_view name, std::initializer_list<Var> inputs,
                                 AttributesPtr attributes = nullptr) {
  return emit_all(name, std::span(inputs.begin(), inputs.size()), std::move(attributes));
}

Var input(Graph& graph, std::string name, DType dtype, const Shape& shape);
void output(std::string name, Var value);
Var constant(Graph& graph, ConstantPtr value);
Var scalar(Graph& graph, DType dtype, double value);                    // rank 0
Var full(Graph& graph, DType dtype, const Shape& shape, double value);  // a broadcast scalar
Var zeros_like(Var x);

// ops/elementwise.cpp
// clang-format off
#define ML_UNARY_OPS(X)                                                                                            \
  X(neg) X(abs) X(sign) X(exp) X(expm1) X(log) X(log1p) X(sqrt) X(rsqrt) X(reciprocal) X(sin) X(cos) X(tan)        \
  X(asin) X(acos) X(atan) X(sinh) X(cosh) X(tanh) X(erf) X(sigmoid) X(floor) X(ceil) X(round) X(logical_not)       \
  X(bit_not) X(is_nan) X(is_inf)
#define ML_BINARY_OPS(X)                                                                                           \
  X(add) X(sub) X(mul) X(div) X(rem) X(pow) X(maximum) X(minimum) X(atan2) X(bit_and) X(bit_or) X(bit_xor)         \
  X(shift_left) X(shift_right) X(logical_and) X(logical_or) X(logical_xor) X(eq) X(ne) X(lt) X(le) X(gt) X(ge)
// clang-format on
#define X(op) Var op(Var x);
ML_UNARY_OPS(X)
#undef X
#define X(op)              \
  Var op(Var a, Var b);    \
  Var op(Var a, double b); \
  Var op(double a, Var b);
ML_BINARY_OPS(X)
#undef X
Var select(Var condition, Var on_true, Var on_false);
Var cast(Var x, DType dtype);  // answers x itself when the dtype is already right
// ops/activation.cpp: composites
Var relu(Var x);
Var gelu(Var x, bool tanh_approximation = false);
Var silu(Var x);
Var hard_swish(Var x);  // x clamp(x / 6 + 1/2, 0, 1)
Var clamp(Var x, double low, double high);

inline Var operator+(Var a, Var b) { return add(a, b); }
inline Var operator-(Var a, Var b) { return sub(a, b); }
inline Var operator*(Var a, Var b) { return mul(a, b); }
inline Var operator/(Var a, Var b) { return div(a, b); }
inline Var operator+(Var a, double b) { return add(a, b); }
inline Var operator-(Var a, double b) { return sub(a, b); }
inline Var operator*(Var a, double b) { return mul(a, b); }
inline Var operator/(Var a, double b) { return div(a, b); }
inline Var operator+(double a, Var b) { return add(a, b); }
inline Var operator-(double a, Var b) { return sub(a, b); }
inline Var operator*(double a, Var b) { return mul(a, b); }
inline Var operator/(double a, Var b) { return div(a, b); }
inline Var operator-(Var a) { return neg(a); }

// ops/matmul.cpp. [..., m, k] x [..., k, n], batch dims broadcast; transposes swap the last two dims of an operand
// first. A vector is a row on the left, a column on the right.
Var matmul(Var a, Var b, bool transpose_a = false, bool transpose_b = false);

// ops/reduce.cpp. Axes may be negative; an empty list means all of them.
Var reduce_sum(Var x, Ints axes = {}, bool keep_dims = false);
Var reduce_mean(Var x, Ints axes = {}, bool keep_dims = false);
Var reduce_prod(Var x, Ints axes = {}, bool keep_dims = false);
Var reduce_max(Var x, Ints axes = {}, bool keep_dims = false);
Var reduce_min(Var x, Ints axes = {}, bool keep_dims = false);
Var argmax(Var x, std::int64_t axis, bool keep_dims = false);  // i64; the first of equals; NaN is largest
Var argmin(Var x, std::int64_t axis, bool keep_dims = false);
Var cumsum(Var x, std::int64_t axis, bool exclusive = false, bool reverse = false);
// Sums `x` down to `shape`, undoing NumPy broadcasting.
Var sum_to(Var x, const Shape& shape);

// ops/movement.cpp
Var reshape(Var x, const Shape& shape);  // one extent may be kUnknown: inferred
Var transpose(Var x, Ints order);
Var broadcast_to(Var x, const Shape& shape);  // kUnknown: as in x
Var concat(std::span<const Var> parts, std::int64_t axis);
Var slice(Var x, Ints starts, Ints ends, Ints strides = {});  // per dim, as NumPy clamps them; strides positive
Var pad(Var x, Ints low, Ints high, double value = 0);        // per dim, non-negative
Var reverse(Var x, Ints axes);
Var bit_cast(Var x, DType dtype);  // the same bits as another dtype of their width
Var squeeze(Var x, Ints axes);     // a reshape
Var unsqueeze(Var x, Ints axes);   // a reshape; axes of the result
Var iota(Graph& graph, DType dtype, const Shape& shape, std::int64_t axis);

// ops/indexing.cpp. Indices are i32 or i64, negative ones count from the end; out of range reads zero or drops the
// write and sets the execution's error flag.
Var gather(Var x, Var indices, std::int64_t axis);           // x.shape with `axis` replaced by indices.shape
Var gather_elements(Var x, Var indices, std::int64_t axis);  // ONNX GatherElements
// x, with updates (of what gather and gather_elements would read there) written to those places.
Var scatter(Var x, Var indices, Var updates, std::int64_t axis, Reduction reduction);
Var scatter_elements(Var x, Var indices, Var updates, std::int64_t axis, Reduction reduction);
Var scatter_add(Var x, Var indices, Var updates, std::int64_t axis);  // x plus updates: gather's transpose
Var scatter_elements_add(Var x, Var indices, Var updates, std::int64_t axis);
std::pair<Var, Var> sort(Var x, std::int64_t axis, bool descending = false);  // values, i64 indices; stable
std::pair<Var, Var> top_k(Var x, std::int64_t k, std::int64_t axis, bool largest = true);  // sorted

}  // namespace ml
