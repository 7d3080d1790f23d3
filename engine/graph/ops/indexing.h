// The attributes of ops whose addresses or order depend on values. (gather and gather_elements have AxisAttributes, the
// axis in [0, rank).)
#pragma once

#include "engine/graph/attributes.h"

namespace ml {

// What a scatter makes of an element and an update of it.
enum class Reduction : std::uint8_t {
  set,  // of several updates of one element the last in row-major order stays
  add,
  mul,
  max,  // NaN wins
  min,  // NaN wins
};

struct ScatterAttributes final : Attributes {
  std::int64_t axis = 0;       // in [0, rank)
  std::int64_t reduction = 1;  // a Reduction
  void visit(AttributeVisitor& v) override {
    v.field("axis", axis);
    v.field("reduction", reduction);
  }
};

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
