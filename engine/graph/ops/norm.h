// Attributes of the normalization rows. Their gradients have the same ones.
#pragma once

#include "engine/graph/attributes.h"

namespace ml {

struct BatchNormAttributes final : Attributes {
  double epsilon = 1e-5;  // added to the variance
  void visit(AttributeVisitor& v) override { v.field("epsilon", epsilon); }
};

struct LayerNormAttributes final : Attributes {
  std::int64_t axis = 0;  // the first of the dimensions that are normalized together, in [0, rank)
  double epsilon = 1e-5;
  void visit(AttributeVisitor& v) override {
    v.field("axis", axis);
    v.field("epsilon", epsilon);
  }
};

struct GroupNormAttributes final : Attributes {
  std::int64_t groups = 1;
  double epsilon = 1e-5;
  void visit(AttributeVisitor& v) override {
    v.field("groups", groups);
    v.field("epsilon", epsilon);
  }
};

}  // namespace ml
