// Reading pictures between their elements: filters, and weighted sums of what taps read.
#pragma once

#include "engine/formats/onnx/extents.h"

namespace ml::onnx {

// Weights by the distance to the place that is read.
Var tent_filter(Var distance);
Var cubic_filter(Var distance, double a);  // Keys' cubic convolution

// Pictures [N, C, spatial...] as places that a gather can copy: rows of channels, or where there are few of those,
// lines of places.
struct Picture {
  Var places;  // [N * positions, C], or channels first [C, N * positions]
  bool channels_first;
  Var nowhere;               // the index of a place behind all others that is zero; empty: there is none
  std::vector<Var> extents;  // of the spatial dimensions, i64[]
};
enum class Outside { never_read, zero };
Picture picture_of(const NodeContext& n, Var x, Outside outside);

// What is read along one spatial dimension, [taps, points...]; the points of all dimensions broadcast together.
struct Taps {
  Var index;   // i64, inside of the picture
  Var weight;  // floating; empty where there is one tap that counts as it is
  Var inside;  // bool: where it does not hold zero is read; empty where it holds everywhere
};
// Two taps around `at` (floating), of which those outside of the picture count as zero.
Taps linear_taps(Var at, Var extent);
// [taps..., points..., C] or [C, taps..., points...]: what every combination of taps reads, weighted, in `dtype`.
// `pictures` (i64, points) is the number of the picture that a point lies in.
Var weighted_places(const Picture& picture, std::span<const Taps> taps, Var pictures, DType dtype);
// Their sum over the taps, [points..., C] or [C, points...].
Var sampled(const Picture& picture, std::span<const Taps> taps, Var pictures, DType dtype);

}  // namespace ml::onnx
