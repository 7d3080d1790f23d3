// Reading pictures between their elements: filters, and sums over taps of rows of channels.
#pragma once

#include "engine/formats/onnx/extents.h"

namespace ml::onnx {

// Weights by the distance to the place that is read.
Var tent_filter(Var distance);
Var cubic_filter(Var distance, double a);  // Keys' cubic convolution

// x [N, C, spatial...] with the channels last, as rows that a gather can copy.
struct Picture {
  Var rows;                  // [N * positions, C]
  std::vector<Var> extents;  // of the spatial dimensions, i64[]
};
Picture picture_of(const NodeContext& n, Var x);

// What is read along one spatial dimension, [taps, points...]; the points of all dimensions broadcast together.
struct Taps {
  Var index;   // i64, inside of the picture
  Var weight;  // floating; empty where there is one tap that counts as it is
  Var inside;  // bool; empty where everything counts
};
// Two taps around `at` (floating), of which those outside of the picture count as zero.
Taps linear_taps(Var at, Var extent);
// [taps..., points..., C]: the weighted rows of every combination of taps, in `dtype`. Row i of `pictures` (i64,
// points) is the number of the picture that a point lies in.
Var weighted_rows(const Picture& picture, std::span<const Taps> taps, Var pictures, DType dtype);
// Their sum over the taps, [points..., C].
Var sampled(const Picture& picture, std::span<const Taps> taps, Var pictures, DType dtype);

}  // namespace ml::onnx
