// Attributes of the ops in dynamic.cpp.
#pragma once

#include "engine/graph/attributes.h"

namespace ml {

struct ReshapeToAttributes final : Attributes {
  bool allow_zero = false;  // a 0 means zero, not "as before"
  void visit(AttributeVisitor& v) override { v.field("allow_zero", allow_zero); }
};
struct SliceByAttributes final : Attributes {
  Ints axes;  // unique, in [0, rank)
  void visit(AttributeVisitor& v) override { v.field("axes", axes); }
};

}  // namespace ml
