// Attributes of the optimizer rows; the names and formulas are PyTorch's (torch.optim.SGD, Adam, AdamW). What changes
// from step to step is an input.
#pragma once

#include "engine/graph/attributes.h"

namespace ml {

struct SgdAttributes final : Attributes {
  double momentum = 0;
  double weight_decay = 0;
  bool nesterov = false;
  void visit(AttributeVisitor& v) override {
    v.field("momentum", momentum);
    v.field("weight_decay", weight_decay);
    v.field("nesterov", nesterov);
  }
};

struct AdamAttributes final : Attributes {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0;
  bool decoupled = false;  // AdamW: the decay acts on the parameter, not on its gradient
  void visit(AttributeVisitor& v) override {
    v.field("beta1", beta1);
    v.field("beta2", beta2);
    v.field("epsilon", epsilon);
    v.field("weight_decay", weight_decay);
    v.field("decoupled", decoupled);
  }
};

}  // namespace ml
