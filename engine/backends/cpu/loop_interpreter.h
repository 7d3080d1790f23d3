// Runs a loop program: tiles small enough for the first-level cache, instruction by instruction, in parts that depend
// on the program's shape alone.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "engine/backends/cpu/loop_tiles.h"
#include "engine/backends/thread_pool.h"
#include "engine/codegen/loop_program.h"

namespace ml::cpu {

class LoopInterpreter {
 public:
  static constexpr std::size_t kMaxOperands = 256;
  // Whether the program's registers and operands fit the interpreter's frame.
  static bool takes(const codegen::LoopProgram& program);
  explicit LoopInterpreter(codegen::LoopProgram program);

  const codegen::LoopProgram& program() const { return program_; }
  // Accumulators of reductions that are folded in several parts.
  std::size_t scratch_bytes() const { return scratch_bytes_; }
  // Pointers to element 0 of each operand. Allocates nothing.
  void run(ThreadPool& pool, std::span<std::byte* const> inputs, std::span<std::byte* const> outputs,
           std::byte* scratch) const;

 private:
  // How one instruction runs, resolved once.
  struct Step {
    codegen::LoopInstruction code;
    TileFunction tile = nullptr;
    ReadFunction read = nullptr;
    WriteFunction write = nullptr;
    Fold fold{};
    std::size_t fold_index = 0;
    std::ptrdiff_t width = 0;     // bytes of the operand's elements in memory
    std::size_t value_width = 0;  // bytes of a register element
    bool plain = false;           // memory and register hold the same bits
    bool writes_through = false;  // the result is the only thing stored, so it may go straight to memory
  };
  // A box of the space.
  struct Box {
    std::int64_t begin[kMaxRank + 1];
    std::int64_t end[kMaxRank + 1];
  };
  struct Launch;
  struct Tile;

  void choose_tile();
  void choose_parts();
  Box box(std::int64_t part) const;
  void run_part(const Launch& launch, std::int64_t part) const;
  void load_scalars(const Launch& launch, const Tile& tile) const;
  void run_steps(const Launch& launch, const Tile& tile, std::size_t begin, std::size_t end) const;
  void finish_folds(const Launch& launch) const;
  std::int64_t offset(const std::vector<std::int64_t>& strides, const std::int64_t* at) const;

  codegen::LoopProgram program_;
  std::vector<Step> steps_;
  std::vector<std::vector<std::int64_t>> fold_strides_;  // per fold: of its dense accumulators
  std::vector<std::size_t> fold_offsets_;                // per fold: into one part's accumulators, bytes
  std::int64_t kept_points_ = 1;                         // elements of a fold's result
  std::int64_t chunks_[kMaxRank + 1] = {};               // parts along each dimension
  std::int64_t parts_ = 1;
  std::int64_t fold_parts_ = 1;        // parts that share a result
  std::size_t accumulator_bytes_ = 0;  // of one such part
  std::size_t scratch_bytes_ = 0;
  std::size_t tile_ = 0;  // elements of a register
  std::size_t register_bytes_ = 0;
};

}  // namespace ml::cpu
