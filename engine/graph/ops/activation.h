#pragma once

#include "engine/graph/attributes.h"

namespace ml {

struct GeluAttributes final : Attributes {
  bool tanh_approximation = false;
  void visit(AttributeVisitor& v) override { v.field("tanh_approximation", tanh_approximation); }
};

}  // namespace ml
