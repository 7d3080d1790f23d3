// The attributes of ops whose addresses or order depend on values. (gather, scatter_add, gather_elements and
// scatter_elements_add have AxisAttributes, the axis in [0, rank).)
#pragma once

#include "engine/graph/attributes.h"

namespace ml {

struct SortAttributes final : Attributes {
  std::int64_t axis = 0;  // in [0, rank)
  bool descending = false;
  void visit(AttributeVisitor& v) override {
    v.field("axis", axis);
    v.field("descending", descending);
  }
};

struct TopKAttributes final : Attributes {
  std::int64_t k = 1;
  std::int64_t axis = 0;  // in [0, rank)
  bool largest = true;
  void visit(AttributeVisitor& v) override {
    v.field("k", k);
    v.field("axis", axis);
    v.field("largest", largest);
  }
};

}  // namespace ml
