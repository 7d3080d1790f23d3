// What Cast means for the dtypes where ONNX has more than one answer.
#pragma once

#include <string>

#include "engine/formats/onnx/node.h"

namespace ml::onnx {

struct CastRules {
  bool saturate = true;         // to float8: what is too large becomes the largest value, otherwise infinity or NaN
  std::string rounding = "up";  // to f8e8m0: "up", "down" or "nearest"
};
// What the node's attributes `saturate` and `round_mode` say.
CastRules cast_rules(const NodeContext& n);
Var cast_as(const NodeContext& n, Var x, DType to, const CastRules& rules);

}  // namespace ml::onnx
