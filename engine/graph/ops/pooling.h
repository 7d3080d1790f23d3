// Attributes of the pooling rows.
#pragma once

#include "engine/graph/ops/windows.h"

namespace ml {

struct MaxPoolAttributes final : Attributes {
  Ints size;  // of the window, per spatial dimension
  Windows windows;
  void visit(AttributeVisitor& v) override {
    v.field("size", size);
    windows.visit(v);
  }
};

struct AveragePoolAttributes final : Attributes {
  Ints size;
  Windows windows;
  bool count_padding = false;  // divide by the size of the window, not by how many of its positions lie in the input
  void visit(AttributeVisitor& v) override {
    v.field("size", size);
    windows.visit(v);
    v.field("count_padding", count_padding);
  }
};

// `extents` are the spatial extents of the input.
struct AveragePoolGradientAttributes final : Attributes {
  Ints size;
  Windows windows;
  bool count_padding = false;
  Ints extents;
  void visit(AttributeVisitor& v) override {
    v.field("size", size);
    windows.visit(v);
    v.field("count_padding", count_padding);
    v.field("extents", extents);
  }
};

}  // namespace ml
