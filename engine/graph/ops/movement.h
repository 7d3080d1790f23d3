// The attributes of ops that move elements without looking at them.
#pragma once

#include <limits>

#include "engine/graph/attributes.h"

namespace ml {

// The extents of the result: a number; kUnknown (at most one) for what is left of the elements; or reshape_keeps(i),
// the extent of the input's dimension i, which is how a reshape carries more than one extent that is not known yet.
struct ReshapeAttributes final : Attributes {
  Ints dims;
  void visit(AttributeVisitor& v) override { v.field("dims", dims); }
};
constexpr std::int64_t reshape_keeps(int dimension) { return -2 - dimension; }

// broadcast_to: where an extent is kUnknown, that of the input stays.
struct BroadcastAttributes final : Attributes {
  Shape shape;
  void visit(AttributeVisitor& v) override { v.field("shape", shape); }
};

// Dimension i of the result is dimension order[i] of the input.
struct TransposeAttributes final : Attributes {
  Ints order;
  void visit(AttributeVisitor& v) override { v.field("order", order); }
};

// NumPy's start:end:stride for each dimension: negative positions count from the end, what lies outside is clamped.
struct SliceAttributes final : Attributes {
  Ints starts;
  Ints ends;
  Ints strides;  // positive
  void visit(AttributeVisitor& v) override {
    v.field("starts", starts);
    v.field("ends", ends);
    v.field("strides", strides);
  }
};
inline constexpr std::int64_t kSliceToEnd = std::numeric_limits<std::int64_t>::max();

// What a slice takes of one dimension of known extent: `count` elements from `start` on, `stride` apart.
struct SliceRange {
  std::int64_t start, stride, count;
};
SliceRange slice_range(const SliceAttributes& attributes, int axis, std::int64_t extent);

// For each dimension: how many elements of `value` stand before, behind, and between each two. Never negative.
struct PadAttributes final : Attributes {
  Ints low;
  Ints high;
  Ints interior;
  double value = 0;  // converted to the dtype as cast does
  void visit(AttributeVisitor& v) override {
    v.field("low", low);
    v.field("high", high);
    v.field("interior", interior);
    v.field("value", value);
  }
};

struct ReverseAttributes final : Attributes {
  Ints axes;  // sorted, unique, in [0, rank)
  void visit(AttributeVisitor& v) override { v.field("axes", axes); }
};

// Element [i0, i1, ...] is i_axis.
struct IotaAttributes final : Attributes {
  DType dtype = DType::i64;
  Shape shape;
  std::int64_t axis = 0;
  void visit(AttributeVisitor& v) override {
    v.field("dtype", dtype);
    v.field("shape", shape);
    v.field("axis", axis);
  }
};

}  // namespace ml
