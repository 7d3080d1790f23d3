// What the control rows know besides their inputs. Bodies are closed: whatever they use of the outside is an input of
// the node, captured behind the others and handed to the body unchanged.
#pragma once

#include "engine/graph/attributes.h"

namespace ml {

// call(arguments...) -> the body's outputs. BodyAttributes.

// if(condition: bool[], captured...) -> the outputs of one of two bodies, which take the captured values and answer
// values of equal dtypes and ranks. An extent in which they differ is known once the condition is.
struct IfAttributes final : Attributes {
  GraphPtr then_body, else_body;
  void visit(AttributeVisitor& v) override {
    v.field("then_body", then_body);
    v.field("else_body", else_body);
  }
};

// while(carried..., captured...) -> the carried values after the last turn. condition(carried..., captured...) ->
// bool[] is asked before each turn; body(carried..., captured...) -> carried of the same types.
struct WhileAttributes final : Attributes {
  GraphPtr condition, body;
  std::int64_t carried = 0;
  void visit(AttributeVisitor& v) override {
    v.field("condition", condition);
    v.field("body", body);
    v.field("carried", carried);
  }
};

// scan(carried..., scanned..., captured...) -> (final carried..., stacked...). Turn i gives the body the i-th slice
// along axis 0 of each scanned input, without that axis: body(carried..., slices..., captured...) -> (carried of the
// same types..., a slice of each stacked output...).
struct ScanAttributes final : Attributes {
  GraphPtr body;
  std::int64_t carried = 0;
  std::int64_t scanned = 0;
  std::int64_t length = -1;  // turns; kUnknown: the extent of what is scanned
  bool reverse = false;      // from the last slice to the first, for scanned and stacked alike
  void visit(AttributeVisitor& v) override {
    v.field("body", body);
    v.field("carried", carried);
    v.field("scanned", scanned);
    v.field("length", length);
    v.field("reverse", reverse);
  }
};

}  // namespace ml
