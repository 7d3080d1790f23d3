// Attributes of the rows for object detection.
#pragma once

#include "engine/graph/attributes.h"

namespace ml {

struct SuppressionAttributes final : Attributes {
  std::int64_t most = kUnknown;  // how many boxes a class may keep; kUnknown: all that there are
  void visit(AttributeVisitor& v) override { v.field("most", most); }
};

}  // namespace ml
