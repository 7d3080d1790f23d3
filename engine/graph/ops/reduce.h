#pragma once

#include "engine/graph/attributes.h"

namespace ml {

// argmax and argmin. (reduce_* have ReduceAttributes.)
struct ArgReduceAttributes final : Attributes {
  std::int64_t axis = 0;  // in [0, rank)
  bool keep_dims = false;
  void visit(AttributeVisitor& v) override {
    v.field("axis", axis);
    v.field("keep_dims", keep_dims);
  }
};

struct CumsumAttributes final : Attributes {
  std::int64_t axis = 0;   // in [0, rank)
  bool exclusive = false;  // element i sums what stands before it
  bool reverse = false;    // from the end of the axis to its start
  void visit(AttributeVisitor& v) override {
    v.field("axis", axis);
    v.field("exclusive", exclusive);
    v.field("reverse", reverse);
  }
};

}  // namespace ml
