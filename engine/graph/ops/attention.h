// What the attention row knows besides its operands.
#pragma once

#include "engine/graph/attributes.h"

namespace ml {

// attention(q [B, H, L, D], k [B, G, S, D], v [B, G, S, E], bias?, lengths?) -> (y [B, H, L, E], log_sum_exp [B, H,
// L]).
//
// y = softmax(scores) v with scores = softcap(scale q k^T) + bias; query head h reads the keys of head h / (H / G).
// `bias` broadcasts against [B, H, L, S]: a float is added, a bool says which keys a query sees. `lengths` (i32 or i64,
// [B]) says how many of the S keys there are, as with a cache that is not full; it may exceed S. A query that sees no
// key answers zeros, and its log_sum_exp is -inf. log_sum_exp has the compute dtype.
struct AttentionAttributes final : Attributes {
  double scale = 1;
  double softcap = 0;   // positive: x becomes softcap tanh(x / softcap)
  bool causal = false;  // the queries are the last L of the `lengths` (or S) positions, and none sees a later key
  void visit(AttributeVisitor& v) override {
    v.field("scale", scale);
    v.field("softcap", softcap);
    v.field("causal", causal);
  }
};

// Which inputs of an attention node are its bias and its lengths, 0 where it has none: the lengths are the integers.
struct AttentionInputs {
  std::size_t bias = 0;
  std::size_t lengths = 0;
};
// `dtype_of` answers the dtype of input i.
template <class F>
AttentionInputs attention_inputs(std::size_t count, F dtype_of) {
  AttentionInputs found;
  for (std::size_t i = 3; i < count; ++i) (is_integer(dtype_of(i)) ? found.lengths : found.bias) = i;
  return found;
}

}  // namespace ml
