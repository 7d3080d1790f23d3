// The tables behind loop_tiles.h: one per file of tile functions, each null for what another one has.
#pragma once

#include "engine/backends/cpu/loop_tiles.h"

namespace ml::cpu {

// loop_arithmetic.cpp: whatever is a few instructions.
TileFunction arithmetic_function(codegen::LoopOp op, DType dtype);
// loop_math.cpp: exponentials, logarithms, trigonometry.
TileFunction math_function(codegen::LoopOp op, DType dtype);
// loop_convert.cpp
TileFunction cast_function(DType from, DType to);

}  // namespace ml::cpu
