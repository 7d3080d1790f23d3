// Attributes of the convolution rows.
#pragma once

#include "engine/graph/ops/windows.h"

namespace ml {

struct ConvolutionAttributes final : Attributes {
  Windows windows;
  std::int64_t groups = 1;
  void visit(AttributeVisitor& v) override {
    windows.visit(v);
    v.field("groups", groups);
  }
};

// Of the two gradients. `extents` are the spatial extents of what they answer: those of the input for
// convolution_input_gradient, those of the weights for convolution_weight_gradient; strides alone do not tell.
struct ConvolutionGradientAttributes final : Attributes {
  Windows windows;
  std::int64_t groups = 1;
  Ints extents;
  void visit(AttributeVisitor& v) override {
    windows.visit(v);
    v.field("groups", groups);
    v.field("extents", extents);
  }
};

}  // namespace ml
