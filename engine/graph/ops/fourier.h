// Attributes of the row in fourier.cpp.
#pragma once

#include "engine/graph/attributes.h"

namespace ml {

struct FourierAttributes final : Attributes {
  bool inverse = false;   // the conjugate transform, divided by the extent
  bool onesided = false;  // only the first n / 2 + 1 of n frequencies
  void visit(AttributeVisitor& v) override {
    v.field("inverse", inverse);
    v.field("onesided", onesided);
  }
};

}  // namespace ml
