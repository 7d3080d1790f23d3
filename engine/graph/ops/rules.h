// What shape rules have in common: checks that throw with the op's name, and the broadcast of several inputs.
#pragma once

#include <string>

#include "engine/graph/op.h"
#include "ml/error.h"

namespace ml::rules {

[[noreturn]] inline void fail(const InferArguments& a, const std::string& what, const std::string& hint = {}) {
  throw Error(Code::invalid_argument, std::string(a.op) + ": " + what, {}, hint);
}

inline std::string text(const TensorType& type) { return std::string(dtype_name(type.dtype)) + type.shape.str(); }

inline void same_dtypes(const InferArguments& a, std::size_t first = 0) {
  for (std::size_t i = first + 1; i < a.inputs.size(); ++i) {
    if (a.dtype(i) != a.dtype(first)) {
      fail(a, "operands have different dtypes: " + text(a.inputs[first]) + " and " + text(a.inputs[i]),
           "cast one of them");
    }
  }
}

inline void want(const InferArguments& a, bool holds, std::size_t input, const char* wanted) {
  if (holds) return;
  fail(a, std::string("wants ") + wanted + ", got " + text(a.inputs[input]),
       is_narrow(a.dtype(input)) ? "cast it first: narrow dtypes are stored, not computed in" : "");
}
inline void want_floating(const InferArguments& a, std::size_t i = 0) {
  want(a, is_floating(a.dtype(i)) && !is_narrow(a.dtype(i)), i, "a floating dtype");
}
inline void want_integer(const InferArguments& a, std::size_t i = 0) {
  want(a, is_integer(a.dtype(i)) && !is_narrow(a.dtype(i)), i, "an integer dtype");
}
inline void want_boolean(const InferArguments& a, std::size_t i = 0) {
  want(a, a.dtype(i) == DType::boolean, i, "bool");
}
inline void want_numeric(const InferArguments& a, std::size_t i = 0) {
  want(a, a.dtype(i) != DType::boolean && !is_narrow(a.dtype(i)), i, "a numeric dtype");
}
inline void want_index(const InferArguments& a, std::size_t i) {
  want(a, a.dtype(i) == DType::i32 || a.dtype(i) == DType::i64, i, "i32 or i64 indices");
}
inline void want_rank(const InferArguments& a, std::size_t i, int rank) {
  if (a.shape(i).rank() != rank)
    fail(a, "input " + std::to_string(i) + " wants rank " + std::to_string(rank) + ", got " + text(a.inputs[i]));
}

// Unknown extents are equal to anything.
inline bool same_extent(std::int64_t a, std::int64_t b) { return a == b || a == kUnknown || b == kUnknown; }
inline bool same_shape(const Shape& a, const Shape& b) {
  if (a.rank() != b.rank()) return false;
  for (int i = 0; i < a.rank(); ++i) {
    if (!same_extent(a[i], b[i])) return false;
  }
  return true;
}

// `axis` as an index of the dimensions of input i, which it must be one of; builders have resolved negative ones.
inline int axis_of(const InferArguments& a, std::int64_t axis, std::size_t i = 0) {
  if (axis < 0 || axis >= a.shape(i).rank())
    fail(a, "axis " + std::to_string(axis) + " is outside of " + text(a.inputs[i]));
  return static_cast<int>(axis);
}

// Sum and product of extents, unknown when one of them is.
inline std::int64_t add_extents(const InferArguments& a, std::int64_t x, std::int64_t y) {
  std::int64_t sum = 0;
  if (x == kUnknown || y == kUnknown) return kUnknown;
  if (__builtin_add_overflow(x, y, &sum)) fail(a, "an extent would exceed 2^63");
  return sum;
}
inline std::int64_t multiply_extents(const InferArguments& a, std::int64_t x, std::int64_t y) {
  std::int64_t product = 0;
  if (x == kUnknown || y == kUnknown) return kUnknown;
  if (__builtin_mul_overflow(x, y, &product)) fail(a, "an extent would exceed 2^63");
  return product;
}

// The cost of ops that only move elements.
inline double no_flops(const InferArguments&, std::span<const TensorType>) { return 0; }

inline Shape broadcast_inputs(const InferArguments& a) {
  Shape shape = a.shape(0);
  const std::string op(a.op);
  for (std::size_t i = 1; i < a.inputs.size(); ++i) shape = broadcast_shapes(shape, a.shape(i), op.c_str());
  return shape;
}

}  // namespace ml::rules
