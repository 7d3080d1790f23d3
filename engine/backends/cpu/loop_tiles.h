// What the loop interpreter calls per instruction and tile: dense runs of register elements, compiled for several
// instruction sets and chosen once, when a kernel is compiled.
//
// A register element is the compute type: float for f16, bf16 and f32, one byte of 0 or 1 for bool, otherwise the
// dtype's own C++ type.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/codegen/loop_program.h"

namespace ml::cpu {

// out[i] = op(a[i], b[i], c[i]) for i < n. Out may be any of the operands when their elements have equal width.
using TileFunction = void (*)(void* out, const void* a, const void* b, const void* c, std::size_t n);
// For every LoopOp but load, constant, stores and folds; `from` is what the operands hold, `to` what comes out.
TileFunction tile_function(codegen::LoopOp op, DType from, DType to);

// Between memory and registers. `stride` counts elements of the strided side.
using ReadFunction = void (*)(void* to, const void* from, std::ptrdiff_t stride, std::size_t n);
using WriteFunction = void (*)(void* to, std::ptrdiff_t stride, const void* from, std::size_t n);
ReadFunction read_function(DType dtype);
WriteFunction write_function(DType dtype);

// Folds a dense tile of rows x inner elements into accumulators: element (r, i) into acc[r * row_stride + i *
// inner_stride]. Sums and products of floats accumulate in f64, everything else in the register's type.
using FoldFunction = void (*)(void* acc, std::ptrdiff_t row_stride, std::ptrdiff_t inner_stride, const void* tile,
                              std::size_t rows, std::size_t inner);
struct Fold {
  FoldFunction tile;                                                                // registers into accumulators
  void (*start)(void* acc, std::size_t n);                                          // the fold of nothing
  void (*merge)(void* acc, const void* other, std::size_t n);                       // accumulators into accumulators
  void (*finish)(void* to, std::ptrdiff_t stride, const void* acc, std::size_t n);  // accumulators to memory
  std::size_t width;                                                                // bytes of an accumulator
};
Fold fold_functions(codegen::LoopOp op, DType dtype);

// Bytes of a register element.
inline std::size_t register_width(DType dtype) { return dtype_size(dtype_info(dtype).compute); }

// The instruction set that the functions above were chosen for: "AVX3", "AVX2", ...
const char* instruction_set();

}  // namespace ml::cpu
