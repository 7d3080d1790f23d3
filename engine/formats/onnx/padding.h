// Padding by amounts that may be known only when the graph is bound. Negative amounts crop first.
#pragma once

#include <string>

#include "engine/formats/onnx/extents.h"

namespace ml::onnx {

struct Padding {
  int axis;
  Var low, high;  // i64[]
};
// `mode` is ONNX's: constant (with `value`, rank 0, of x's dtype), edge, reflect (without the edge) or wrap.
Var padded(const NodeContext& n, Var x, std::span<const Padding> amounts, const std::string& mode, Var value);

}  // namespace ml::onnx
