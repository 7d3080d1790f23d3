// How windows lie over the spatial dimensions (all after the first two) of convolution and pooling.
#pragma once

#include "engine/graph/ops/rules.h"

namespace ml {

// One entry per spatial dimension. Window i of a dimension covers the positions i * stride - pad_low + k * dilation for
// k in [0, size).
struct Windows {
  Ints strides;
  Ints pad_low;
  Ints pad_high;
  Ints dilations;

  // Strides and dilations 1, no padding.
  static Windows unit(int spatial_rank) {
    const auto n = static_cast<std::size_t>(spatial_rank);
    return {Ints(n, 1), Ints(n, 0), Ints(n, 0), Ints(n, 1)};
  }
  void visit(AttributeVisitor& v) {
    v.field("strides", strides);
    v.field("pad_low", pad_low);
    v.field("pad_high", pad_high);
    v.field("dilations", dilations);
  }
};

namespace rules {

// Checks that there is one positive stride and dilation and one padding that is not negative per spatial dimension.
void check_windows(const InferArguments& a, const Windows& windows, int spatial_rank);
// How many windows of `size` there are along spatial dimension `d` of extent `extent`; fails when not even one fits.
// Unknown when either is.
std::int64_t window_count(const InferArguments& a, const Windows& windows, int d, std::int64_t extent,
                          std::int64_t size);

}  // namespace rules
}  // namespace ml
