// A fused kernel as one small register program over an iteration space: what the CPU interprets over tiles and GPU
// backends render to source.
//
// Every register holds one value per point of the space. Operands are read and written through element strides, 0
// where they broadcast; a reduction is a store whose strides are 0 in the dimensions that it folds. Values are computed
// in their dtype's compute type: f16 and bf16 live in registers as f32 and are rounded when they are stored or cast. A
// cast to a narrow dtype is from its compute type, to a narrow integer from f32 or f64 too.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/graph/build.h"
#include "engine/graph/graph.h"

namespace ml::codegen {

enum class LoopOp : std::uint8_t {
  load,      // result = operand
  constant,  // result = constants[operand]
  store,     // operand = a
  fold_sum,  // operand = operand (+) a over the points that share an element of it
  fold_prod,
  fold_max,  // NaN wins
  fold_min,
  cast,
  select,  // a ? b : c
#define X(op) op,
  ML_UNARY_OPS(X) ML_BINARY_OPS(X)
#undef X
};

// The op of that name ("add", "reduce_sum", ...), if loop programs know it.
std::optional<LoopOp> loop_op(std::string_view name);
inline bool is_fold(LoopOp op) { return op >= LoopOp::fold_sum && op <= LoopOp::fold_min; }

using Register = std::uint16_t;

struct LoopInstruction {
  LoopOp op;
  DType from;           // what a (of select: b and c) holds, as the graph has it
  DType to;             // what the result holds, as the graph has it
  Register result = 0;  // not for stores and folds
  Register a = 0, b = 0, c = 0;
  std::uint32_t operand = 0;  // load: input; store, fold: output; constant: which
};

// One tensor that the program reads or writes, with a stride in elements per dimension of the space.
struct LoopOperand {
  DType dtype;
  std::vector<std::int64_t> strides;
};

// A splat, as a double and, for integers, exactly.
struct LoopConstant {
  DType dtype;
  double value;
  std::int64_t integer;
};

struct LoopProgram {
  std::vector<std::int64_t>
      extents;               // outermost first, ordered and collapsed for memory order; may be empty (a scalar)
  std::vector<bool> folded;  // per dimension: the folds fold it
  std::vector<LoopOperand> inputs;
  std::vector<LoopOperand> outputs;
  std::vector<LoopConstant> constants;
  std::vector<LoopInstruction> code;  // all stores and folds stand at the end
  std::size_t scalars = 0;            // the first of `code` are constants and loads of one element,
  std::size_t rows = 0;  // the next load what differs along the innermost dimension only; nothing else uses the
                         // registers of either
  std::uint16_t registers = 0;

  std::int64_t points() const;
  bool has_folds() const;
};

// The strides in which a tensor lies in memory, per dimension of its own shape.
using Strides = std::vector<std::int64_t>;

// Compiles a body of element-wise nodes, scalar constants and broadcast_to, whose outputs all have the largest shape or
// are reductions of it over the same axes. Answers nothing, with why in `refused`, for any other graph.
std::optional<LoopProgram> compile_loop(const Graph& body, std::span<const Strides> inputs,
                                        std::span<const Strides> outputs, std::string& refused);

// A graph of one node with an input for each of `inputs`.
Graph single_node(const Op& op, const AttributesPtr& attributes, std::span<const TensorType> inputs);

// Whether a node could stand in a body, going by its op alone.
bool fuses(const Node& node);

}  // namespace ml::codegen
