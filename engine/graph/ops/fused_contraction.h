// A convolution or product and what is done to each element of its result, as one node, and convolutions behind each
// other as one.
#pragma once

#include "engine/graph/graph.h"

namespace ml {

// fused_contraction(operands..., more...) -> y. BodyAttributes: the body's first node is the contraction, which takes
// the body's first inputs in order; all others are element-wise or activations, one after the other on its result,
// beside constants and the rest of the inputs; its one output has the contraction's type.

// fused_convolutions(x, operands...) -> y. BodyAttributes: each node of the body is a convolution, by itself or as a
// fused_contraction, and takes the one before as its image; its one output is the last.

// The contraction of a fused_contraction's body, null when it is none.
const Node* contraction_of(const Graph& body);

}  // namespace ml
