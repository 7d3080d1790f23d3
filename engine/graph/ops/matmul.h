#pragma once

#include "engine/graph/attributes.h"

namespace ml {

// Swap the last two dimensions of an operand before multiplying.
struct MatmulAttributes final : Attributes {
  bool transpose_a = false;
  bool transpose_b = false;
  void visit(AttributeVisitor& v) override {
    v.field("transpose_a", transpose_a);
    v.field("transpose_b", transpose_b);
  }
};

}  // namespace ml
