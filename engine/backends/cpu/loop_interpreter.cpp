#include "engine/backends/cpu/loop_interpreter.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "engine/graph/scalar.h"

namespace ml::cpu {
namespace {

using codegen::is_fold;
using codegen::LoopInstruction;
using codegen::LoopOp;
using codegen::LoopOperand;

constexpr std::size_t kRegisterFile = 24 * 1024;  // of the first-level cache; the operands want the rest
constexpr std::size_t kMaxTile = 2048;
constexpr std::size_t kMinTile = 32;
constexpr std::int64_t kPointsPerPart = 16 * 1024;
constexpr std::int64_t kMaxParts = 64;
constexpr std::int64_t kMinRun = 512;  // elements of the innermost dimension that a part should at least have

// With the least tile a program may need more than the cache share; past this it is refused.
constexpr std::size_t kRegisterFileLimit = 64 * 1024;

std::size_t round_up(std::size_t value, std::size_t unit) { return (value + unit - 1) / unit * unit; }

}  // namespace

struct LoopInterpreter::Launch {
  std::span<std::byte* const> inputs;
  std::span<std::byte* const> outputs;
  std::byte* accumulators;
};

// rows x inner points from `at` on.
struct LoopInterpreter::Tile {
  const std::int64_t* at;
  std::size_t rows;
  std::size_t inner;
  std::byte* registers;
  std::byte** values;  // where each register's elements are: in `registers` or in an operand
  std::byte* accumulators;
};

bool LoopInterpreter::takes(const codegen::LoopProgram& program) {
  return program.registers * kMinTile * sizeof(double) <= kRegisterFileLimit && program.registers <= kMaxOperands &&
         program.inputs.size() <= kMaxOperands && program.outputs.size() <= kMaxOperands;
}

LoopInterpreter::LoopInterpreter(codegen::LoopProgram program) : program_(std::move(program)) {
  for (std::size_t d = 0; d < program_.extents.size(); ++d) {
    if (!program_.folded[d]) kept_points_ *= program_.extents[d];
  }
  std::size_t stores = 0;
  for (const LoopInstruction& code : program_.code) {
    Step step{.code = code};
    step.value_width = register_width(code.to);
    step.plain = dtype_info(code.to).compute == code.to;
    step.width = static_cast<std::ptrdiff_t>(dtype_size(code.to));
    if (code.op == LoopOp::load || code.op == LoopOp::constant) {
      step.read = read_function(code.from);
    } else if (code.op == LoopOp::store) {
      step.write = write_function(code.to);
      ++stores;
    } else if (is_fold(code.op)) {
      step.fold = fold_functions(code.op, code.from);
      step.fold_index = fold_strides_.size();
      std::vector<std::int64_t> strides(program_.extents.size(), 0);
      std::int64_t stride = 1;
      for (std::size_t d = strides.size(); d-- > 0;) {
        if (program_.folded[d]) continue;
        strides[d] = stride;
        stride *= program_.extents[d];
      }
      fold_strides_.push_back(std::move(strides));
      fold_offsets_.push_back(accumulator_bytes_);
      accumulator_bytes_ += round_up(static_cast<std::size_t>(kept_points_) * step.fold.width, 64);
    } else {
      step.tile = tile_function(code.op, code.from, code.to);
    }
    steps_.push_back(step);
  }
  const std::size_t last = steps_.size() - 1;
  if (steps_.size() >= 2 && stores == 1 && steps_[last].code.op == LoopOp::store && steps_[last].plain &&
      steps_[last - 1].tile != nullptr && steps_[last - 1].code.result == steps_[last].code.a) {
    steps_[last - 1].writes_through = true;
    steps_[last - 1].code.operand = steps_[last].code.operand;
  }
  choose_tile();
  choose_parts();
  scratch_bytes_ = accumulator_bytes_ * static_cast<std::size_t>(fold_parts_);
}

void LoopInterpreter::choose_tile() {
  std::size_t width = 1;
  for (const Step& step : steps_) width = std::max(width, step.value_width);
  const std::size_t registers = std::max<std::size_t>(program_.registers, 1);
  tile_ = std::clamp(kRegisterFile / (registers * width) / kMinTile * kMinTile, kMinTile, kMaxTile);
  register_bytes_ = tile_ * width;
}

// Chunks of the kept dimensions first, outermost first; folded ones only when those do not give enough parts, because
// each then has accumulators of its own.
void LoopInterpreter::choose_parts() {
  const auto& extents = program_.extents;
  std::fill(std::begin(chunks_), std::end(chunks_), 1);
  const std::int64_t wanted = std::clamp<std::int64_t>(program_.points() / kPointsPerPart, 1, kMaxParts);
  for (const bool folded : {false, true}) {
    for (std::size_t d = 0; d < extents.size(); ++d) {
      if (program_.has_folds() ? program_.folded[d] != folded : folded) continue;
      const std::int64_t most = d + 1 == extents.size() ? extents[d] / kMinRun : extents[d];
      const std::int64_t chunks = std::clamp<std::int64_t>(most, 1, (wanted + parts_ - 1) / parts_);
      chunks_[d] = chunks;
      parts_ *= chunks;
      if (program_.has_folds() && program_.folded[d]) fold_parts_ *= chunks;
    }
  }
}

LoopInterpreter::Box LoopInterpreter::box(std::int64_t part) const {
  Box box{};
  for (std::size_t d = program_.extents.size(); d-- > 0;) {
    const std::int64_t chunk = part % chunks_[d];
    part /= chunks_[d];
    box.begin[d] = program_.extents[d] * chunk / chunks_[d];
    box.end[d] = program_.extents[d] * (chunk + 1) / chunks_[d];
  }
  return box;
}

std::int64_t LoopInterpreter::offset(const std::vector<std::int64_t>& strides, const std::int64_t* at) const {
  std::int64_t result = 0;
  for (std::size_t d = 0; d < strides.size(); ++d) result += strides[d] * at[d];
  return result;
}

void LoopInterpreter::run(ThreadPool& pool, std::span<std::byte* const> inputs, std::span<std::byte* const> outputs,
                          std::byte* scratch) const {
  const Launch launch{inputs, outputs, scratch};
  for (std::int64_t part = 0; part < fold_parts_; ++part) {
    for (const Step& step : steps_) {
      if (!is_fold(step.code.op)) continue;
      step.fold.start(scratch + static_cast<std::size_t>(part) * accumulator_bytes_ + fold_offsets_[step.fold_index],
                      static_cast<std::size_t>(kept_points_));
    }
  }
  if (program_.points() > 0) pool.parallel_for(parts_, [&](std::int64_t part) { run_part(launch, part); });
  if (!fold_strides_.empty()) finish_folds(launch);
}

void LoopInterpreter::run_part(const Launch& launch, std::int64_t part) const {
  const Box box = this->box(part);
  const std::size_t dims = program_.extents.size();
  // Which of the accumulators: the part's place among those that differ in folded dimensions only.
  std::int64_t fold_part = 0;
  {
    std::int64_t rest = part, unit = 1;
    for (std::size_t d = dims; d-- > 0;) {
      if (program_.folded[d]) {
        fold_part += rest % chunks_[d] * unit;
        unit *= chunks_[d];
      }
      rest /= chunks_[d];
    }
    if (fold_strides_.empty()) fold_part = 0;
  }

  alignas(64) std::byte file[kRegisterFileLimit];
  std::byte* values[kMaxOperands];
  const std::size_t registers = std::max<std::size_t>(program_.registers, 1);
  Tile tile{};
  std::int64_t at[kMaxRank + 1];
  std::copy(box.begin, box.begin + dims, at);
  tile.at = at;
  tile.registers = file;
  tile.values = values;
  tile.accumulators = launch.accumulators + static_cast<std::size_t>(fold_part) * accumulator_bytes_;
  for (std::size_t r = 0; r < registers; ++r) values[r] = file + r * register_bytes_;

  const std::int64_t inner_begin = dims > 0 ? box.begin[dims - 1] : 0;
  const std::int64_t inner_end = dims > 0 ? box.end[dims - 1] : 1;
  const std::int64_t inner = inner_end - inner_begin;
  const auto capacity = static_cast<std::int64_t>(tile_);
  const std::int64_t run = std::min(inner, capacity);
  const std::int64_t rows = dims > 1 && inner <= capacity ? std::max<std::int64_t>(capacity / inner, 1) : 1;
  tile.inner = static_cast<std::size_t>(run);
  tile.rows = static_cast<std::size_t>(dims > 1 ? std::min(rows, box.end[dims - 2] - box.begin[dims - 2]) : 1);
  load_scalars(launch, tile);
  // Whole rows in every tile: what differs along them only is the same for all.
  std::size_t first = program_.scalars;
  if (run == inner) {
    run_steps(launch, tile, first, first + program_.rows);
    first += program_.rows;
  }
  for (;;) {
    // One row of tiles: along the innermost dimension, or several whole rows of it at once.
    const std::int64_t row_count = dims > 1 ? std::min(rows, box.end[dims - 2] - at[dims - 2]) : 1;
    for (std::int64_t i = inner_begin; i < inner_end; i += run) {
      if (dims > 0) at[dims - 1] = i;
      tile.rows = static_cast<std::size_t>(row_count);
      tile.inner = static_cast<std::size_t>(std::min(run, inner_end - i));
      run_steps(launch, tile, first, steps_.size());
    }
    if (dims < 2) return;
    at[dims - 2] += row_count;
    std::size_t d = dims - 2;
    while (at[d] >= box.end[d]) {
      at[d] = box.begin[d];
      if (d == 0) return;
      ++at[--d];
    }
  }
}

void LoopInterpreter::load_scalars(const Launch& launch, const Tile& tile) const {
  const std::size_t n = tile.rows * tile.inner;
  for (std::size_t i = 0; i < program_.scalars; ++i) {
    const Step& step = steps_[i];
    std::byte* const to = tile.values[step.code.result];
    if (step.code.op == LoopOp::load) {
      step.read(to, launch.inputs[step.code.operand], 0, n);
      continue;
    }
    const codegen::LoopConstant& constant = program_.constants[step.code.operand];
    alignas(8) std::byte element[8];
    if (is_floating(constant.dtype)) {
      store_double(constant.dtype, element, constant.value);
    } else {
      store_int(constant.dtype, element, constant.integer);
    }
    step.read(to, element, 0, n);
  }
}

void LoopInterpreter::run_steps(const Launch& launch, const Tile& tile, std::size_t begin, std::size_t end) const {
  const std::size_t dims = program_.extents.size();
  const std::size_t n = tile.rows * tile.inner;
  const auto inner_stride = [&](const LoopOperand& operand) { return dims > 0 ? operand.strides[dims - 1] : 0; };
  const auto row_stride = [&](const LoopOperand& operand) { return dims > 1 ? operand.strides[dims - 2] : 0; };
  const auto dense = [&](const LoopOperand& operand) {
    return (inner_stride(operand) == 1 || tile.inner == 1) &&
           (tile.rows == 1 || row_stride(operand) == static_cast<std::int64_t>(tile.inner));
  };

  for (std::size_t s = begin; s < end; ++s) {
    const Step& step = steps_[s];
    const LoopInstruction& code = step.code;
    if (step.tile != nullptr) {
      std::byte* to = tile.registers + code.result * register_bytes_;
      if (step.writes_through) {
        const LoopOperand& operand = program_.outputs[code.operand];
        if (launch.outputs[code.operand] != nullptr && dense(operand)) {
          to = launch.outputs[code.operand] + offset(operand.strides, tile.at) * steps_[s + 1].width;
        }
      }
      step.tile(to, tile.values[code.a], tile.values[code.b], tile.values[code.c], n);
      tile.values[code.result] = to;
    } else if (code.op == LoopOp::load) {
      const LoopOperand& operand = program_.inputs[code.operand];
      const std::byte* const from = launch.inputs[code.operand] + offset(operand.strides, tile.at) * step.width;
      std::byte* const to = tile.registers + code.result * register_bytes_;
      tile.values[code.result] = to;
      const std::int64_t along = inner_stride(operand), across = row_stride(operand);
      if (dense(operand)) {
        if (step.plain) {
          tile.values[code.result] = const_cast<std::byte*>(from);
        } else {
          step.read(to, from, 1, n);
        }
      } else if (along == 0 && (across == 0 || tile.rows == 1)) {
        step.read(to, from, 0, n);
      } else if (across == 0) {
        const std::size_t row = tile.inner * step.value_width;
        step.read(to, from, along, tile.inner);
        for (std::size_t r = 1; r < tile.rows; ++r) std::memcpy(to + r * row, to, row);
      } else {
        for (std::size_t r = 0; r < tile.rows; ++r) {
          step.read(to + r * tile.inner * step.value_width, from + static_cast<std::ptrdiff_t>(r) * across * step.width,
                    along, tile.inner);
        }
      }
    } else if (code.op == LoopOp::store) {
      if (launch.outputs[code.operand] == nullptr) continue;  // nobody reads it
      const LoopOperand& operand = program_.outputs[code.operand];
      std::byte* const to = launch.outputs[code.operand] + offset(operand.strides, tile.at) * step.width;
      const std::byte* const from = tile.values[code.a];
      if (from == to) continue;  // written through
      if (dense(operand)) {
        step.write(to, 1, from, n);
      } else {
        for (std::size_t r = 0; r < tile.rows; ++r) {
          step.write(to + static_cast<std::ptrdiff_t>(r) * row_stride(operand) * step.width, inner_stride(operand),
                     from + r * tile.inner * step.value_width, tile.inner);
        }
      }
    } else {
      const std::vector<std::int64_t>& strides = fold_strides_[step.fold_index];
      std::byte* const acc = tile.accumulators + fold_offsets_[step.fold_index] +
                             offset(strides, tile.at) * static_cast<std::int64_t>(step.fold.width);
      step.fold.tile(acc, dims > 1 ? strides[dims - 2] : 0, dims > 0 ? strides[dims - 1] : 0, tile.values[code.a],
                     tile.rows, tile.inner);
    }
  }
}

// Merges the parts in order and writes the results.
void LoopInterpreter::finish_folds(const Launch& launch) const {
  const std::size_t dims = program_.extents.size();
  for (const Step& step : steps_) {
    if (!is_fold(step.code.op)) continue;
    std::byte* const acc = launch.accumulators + fold_offsets_[step.fold_index];
    for (std::int64_t part = 1; part < fold_parts_; ++part) {
      step.fold.merge(acc, acc + static_cast<std::size_t>(part) * accumulator_bytes_,
                      static_cast<std::size_t>(kept_points_));
    }
    if (kept_points_ == 0 || launch.outputs[step.code.operand] == nullptr) continue;
    const LoopOperand& operand = program_.outputs[step.code.operand];
    std::size_t inner = dims;  // the innermost kept dimension
    while (inner > 0 && program_.folded[inner - 1]) --inner;
    const std::int64_t run = inner > 0 ? program_.extents[inner - 1] : 1;
    const std::int64_t stride = inner > 0 ? operand.strides[inner - 1] : 1;
    std::int64_t at[kMaxRank + 1] = {};
    for (std::int64_t done = 0; done < kept_points_; done += run) {
      step.fold.finish(launch.outputs[step.code.operand] + offset(operand.strides, at) * step.width, stride,
                       acc + static_cast<std::size_t>(done) * step.fold.width, static_cast<std::size_t>(run));
      for (std::size_t d = inner > 0 ? inner - 1 : 0; d-- > 0;) {
        if (program_.folded[d]) continue;
        if (++at[d] < program_.extents[d]) break;
        at[d] = 0;
      }
    }
  }
}

}  // namespace ml::cpu
