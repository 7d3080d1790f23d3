// Attributes of quantize and dequantize.
#pragma once

#include "engine/graph/attributes.h"

namespace ml {

// Which scale an element has. A scale of rank 0 is everybody's. With block 0 it is a vector along `axis`, otherwise it
// has the tensor's shape but for `axis`, where one scale is for `block` elements (the last ones may be fewer).
struct DequantizeAttributes final : Attributes {
  std::int64_t axis = 0;
  std::int64_t block = 0;
  void visit(AttributeVisitor& v) override {
    v.field("axis", axis);
    v.field("block", block);
  }
};

struct QuantizeAttributes final : Attributes {
  DType dtype = DType::u8;  // an integer of at most 16 bits or a narrow float
  std::int64_t axis = 0;
  std::int64_t block = 0;
  bool saturate = true;  // of floats: what is too large becomes the largest value, not infinity or NaN; integers always
  void visit(AttributeVisitor& v) override {
    v.field("dtype", dtype);
    v.field("axis", axis);
    v.field("block", block);
    v.field("saturate", saturate);
  }
};

}  // namespace ml
