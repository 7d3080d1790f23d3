// Building control flow. Bodies are closed graphs (ops/control.h says what they take and answer); what they use of the
// outside is captured, an operand behind the others. At least one operand tells the graph.
#pragma once

#include <functional>

#include "engine/graph/build.h"

namespace ml {

std::vector<Var> call(GraphPtr body, std::span<const Var> arguments);
// condition: bool[]. Both bodies take the captured values and answer the same dtypes and ranks.
std::vector<Var> if_else(Var condition, GraphPtr then_body, GraphPtr else_body, std::span<const Var> captured);
// Answers the carried values after the last turn.
std::vector<Var> while_loop(GraphPtr condition, GraphPtr body, std::span<const Var> carried,
                            std::span<const Var> captured = {});

struct ScanOptions {
  std::int64_t length = kUnknown;  // turns; needed when nothing is scanned
  bool reverse = false;            // from the last slice to the first
};
// Answers the carried values after the last turn, then the stacked outputs.
std::vector<Var> scan(GraphPtr body, std::span<const Var> carried, std::span<const Var> scanned,
                      std::span<const Var> captured = {}, ScanOptions options = {});

// The same, with the body made by a function of the values that one turn sees.
using Turn = std::function<std::vector<Var>(std::span<const Var> carried, std::span<const Var> slices,
                                            std::span<const Var> captured)>;
std::vector<Var> scan(const Turn& turn, std::span<const Var> carried, std::span<const Var> scanned,
                      std::span<const Var> captured = {}, ScanOptions options = {});

// One kernel of element-wise nodes and constants, with at most one reduction, which is last. Passes make it.
std::vector<Var> fused(GraphPtr body, std::span<const Var> inputs);
// A convolution or product with what is done to each element of its result (ops/fused_contraction.h). Passes make it.
Var fused_contraction(GraphPtr body, std::span<const Var> inputs);
// Convolutions of which each takes the result of the one before (ops/fused_contraction.h). Passes make it.
Var fused_convolutions(GraphPtr body, std::span<const Var> inputs);

}  // namespace ml
