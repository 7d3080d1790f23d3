// Attributes of the recurrent rows; build_recurrent.h says what they mean.
#pragma once

#include "engine/graph/attributes.h"

namespace ml {

struct RecurrentAttributes final : Attributes {
  bool reverse = false;  // a single direction runs from the last step to the first
  void visit(AttributeVisitor& v) override { v.field("reverse", reverse); }
};

}  // namespace ml
