// One step of LSTM and GRU: products with the packed weights and what becomes of them, without leaving the registers.
#include "engine/backends/cpu/recurrent_step.h"

#include <algorithm>

#include "engine/backends/cpu/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/backends/cpu/kernel_recurrent.cpp"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
// After highway.h: compiled once per target too.
#include "engine/backends/cpu/tiles-inl.h"
#include "engine/backends/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ml::cpu::HWY_NAMESPACE {
namespace {

using Float = hn::ScalableTag<float>;
using Vector = hn::Vec<Float>;
constexpr std::int64_t kLanes = HWY_LANES(float);
constexpr int kRowsDown = kTileVectors == 4 ? 8 : 2;
constexpr int kMostSums = 24;  // that registers hold

// The gates that one pass has the products of: those of gru's candidate wait for the reset gate.
constexpr int gates_of_pass(RecurrentCell cell, int pass) {
  return cell != RecurrentCell::gru ? gate_count(cell) : pass == 0 ? 2 : 1;
}
// Where the weights of a pass begin.
std::int64_t weights_of_pass(RecurrentCell cell, int pass, std::int64_t hidden) {
  const std::int64_t chunks = (hidden + kLanes - 1) / kLanes;
  return pass == 0 ? 0 : gates_of_pass(cell, 0) * chunks * hidden * kLanes;
}

// The sums of `gates` gates for the units of one chunk and some rows.
template <int rows, int gates>
struct Sums {
  Vector of[rows][gates];

  // x [rows] are `line` floats apart; weights [hidden][gates][lanes].
  HWY_INLINE void multiply(const float* x, std::int64_t line, const float* weights, std::int64_t hidden) {
    // Many rows take the gates in two goes: each weight is still read once for all of them.
    if constexpr (rows * gates > kMostSums) {
      multiply_some<0, gates / 2>(x, line, weights, hidden);
      multiply_some<gates / 2, gates - gates / 2>(x, line, weights, hidden);
    } else {
      multiply_some<0, gates>(x, line, weights, hidden);
    }
  }

 private:
  template <int first, int count>
  HWY_INLINE void multiply_some(const float* x, std::int64_t line, const float* weights, std::int64_t hidden) {
    // With few sums every second product goes to sums of its own, so that none waits for the one before.
    constexpr int kWays = rows * count <= 8 ? 2 : 1;
    const Float d;
    Vector sums[kWays][rows][count];
    ML_UNROLL
    for (int way = 0; way < kWays; ++way) {
      ML_UNROLL
      for (int r = 0; r < rows; ++r) {
        ML_UNROLL
        for (int g = 0; g < count; ++g) sums[way][r][g] = hn::Zero(d);
      }
    }
    const auto turn = [&](std::int64_t k, Vector(&to)[rows][count]) HWY_ATTR {
      Vector w[count];
      ML_UNROLL
      for (int g = 0; g < count; ++g) w[g] = hn::LoadU(d, weights + (k * gates + first + g) * kLanes);
      ML_UNROLL
      for (int r = 0; r < rows; ++r) {
        const Vector value = hn::Set(d, x[r * line + k]);
        ML_UNROLL
        for (int g = 0; g < count; ++g) to[r][g] = hn::MulAdd(value, w[g], to[r][g]);
      }
    };
    std::int64_t k = 0;
    if constexpr (kWays == 2) {
      for (; k + 2 <= hidden; k += 2) {
        turn(k, sums[0]);
        turn(k + 1, sums[1]);
      }
    }
    for (; k < hidden; ++k) turn(k, sums[0]);
    ML_UNROLL
    for (int r = 0; r < rows; ++r) {
      ML_UNROLL
      for (int g = 0; g < count; ++g)
        of[r][first + g] = kWays == 2 ? hn::Add(sums[0][r][g], sums[kWays - 1][r][g]) : sums[0][r][g];
    }
  }
};

// One chunk of units for some rows.
template <RecurrentCell cell, int pass, int rows>
HWY_NOINLINE void run_tile(const RecurrentStep& s, std::int64_t row, std::int64_t chunk) {
  constexpr int kGates = gates_of_pass(cell, pass);
  const Float d;
  const std::int64_t unit = chunk * kLanes;
  const auto mask = hn::FirstN(d, static_cast<std::size_t>(std::min(kLanes, s.hidden - unit)));
  const float* const x = (pass == 0 ? s.h : s.reset_h) + row * s.line;
  const float* const weights = s.weights + weights_of_pass(cell, pass, s.hidden) + chunk * s.hidden * kGates * kLanes;
  // What comes of the inputs lies far apart and was written long ago: it is fetched while the products are made.
  for (int r = 0; r < rows; ++r) {
    for (int g = 0; g < gate_count(cell); ++g)
      hwy::Prefetch(s.gates + (row + r) * s.gates_stride + g * s.hidden + unit);
  }
  Sums<rows, kGates> sums;
  sums.multiply(x, s.line, weights, s.hidden);
  for (int r = 0; r < rows; ++r) {
    const std::int64_t b = row + r, at = b * s.line + unit;
    const float* const given = s.gates + b * s.gates_stride + unit;
    const auto gate = [&](int g) HWY_ATTR { return hn::MaskedLoad(mask, d, given + g * s.hidden); };
    const Vector before = hn::LoadU(d, s.h + at);
    const bool within = s.within == nullptr || s.within[b] != 0;
    Vector after = before;
    if constexpr (cell == RecurrentCell::lstm) {
      const Vector input = QuickSigmoid::run(d, hn::Add(gate(0), sums.of[r][0]));
      const Vector output = QuickSigmoid::run(d, hn::Add(gate(1), sums.of[r][1]));
      const Vector forget = QuickSigmoid::run(d, hn::Add(gate(2), sums.of[r][2]));
      const Vector candidate = QuickTanh::run(d, hn::Add(gate(3), sums.of[r][3]));
      const Vector c = hn::MulAdd(forget, hn::LoadU(d, s.c + at), hn::Mul(input, candidate));
      if (within) {
        after = hn::Mul(output, QuickTanh::run(d, c));
        hn::StoreU(c, d, s.c + at);
      }
    } else if constexpr (cell == RecurrentCell::gru && pass == 0) {
      const Vector reset = QuickSigmoid::run(d, hn::Add(gate(1), sums.of[r][1]));
      hn::StoreU(QuickSigmoid::run(d, hn::Add(gate(0), sums.of[r][0])), d, s.update + at);
      hn::StoreU(hn::Mul(reset, before), d, s.reset_h + at);
      continue;
    } else {
      Vector update, memory;
      if constexpr (cell == RecurrentCell::gru) {
        update = hn::LoadU(d, s.update + at);
        memory = sums.of[r][0];
      } else {
        update = QuickSigmoid::run(d, hn::Add(gate(0), sums.of[r][0]));
        const Vector reset = QuickSigmoid::run(d, hn::Add(gate(1), sums.of[r][1]));
        memory = hn::Mul(reset, hn::Add(sums.of[r][2], hn::MaskedLoad(mask, d, s.bias + unit)));
      }
      const Vector candidate = QuickTanh::run(d, hn::Add(gate(2), memory));
      if (within) after = hn::MulAdd(update, before, hn::NegMulAdd(update, candidate, candidate));
    }
    hn::StoreU(after, d, s.next + at);
    if (s.y != nullptr) hn::BlendedStore(within ? after : hn::Zero(d), mask, d, s.y + b * s.y_stride + unit);
  }
}

template <RecurrentCell cell, int pass>
void run_pass(const RecurrentStep& step, std::int64_t first_row, std::int64_t last_row, std::int64_t first_chunk,
              std::int64_t last_chunk) {
  const std::int64_t tiles = (last_row - first_row + kRowsDown - 1) / kRowsDown;
  for (std::int64_t chunk = first_chunk; chunk < last_chunk; ++chunk) {
    for (std::int64_t tile = 0, row = first_row; tile < tiles; ++tile) {
      // Tiles of about the same height.
      const auto down = static_cast<int>((last_row - row + tiles - tile - 1) / (tiles - tile));
      with_count<kRowsDown>(down,
                            [&](auto rows) HWY_ATTR { run_tile<cell, pass, decltype(rows)::value>(step, row, chunk); });
      row += down;
    }
  }
}

}  // namespace

void run_step(RecurrentCell cell, int pass, const RecurrentStep& step, std::int64_t first_row, std::int64_t last_row,
              std::int64_t first_chunk, std::int64_t last_chunk) {
  switch (cell) {
    case RecurrentCell::lstm:
      return run_pass<RecurrentCell::lstm, 0>(step, first_row, last_row, first_chunk, last_chunk);
    case RecurrentCell::gru_after:
      return run_pass<RecurrentCell::gru_after, 0>(step, first_row, last_row, first_chunk, last_chunk);
    case RecurrentCell::gru:
      if (pass == 0) return run_pass<RecurrentCell::gru, 0>(step, first_row, last_row, first_chunk, last_chunk);
      return run_pass<RecurrentCell::gru, 1>(step, first_row, last_row, first_chunk, last_chunk);
  }
}

void pack_weights(RecurrentCell cell, const float* r, std::int64_t hidden, float* to) {
  int first = 0;  // gate of the pass
  for (int pass = 0; pass < pass_count(cell); ++pass) {
    const int gates = gates_of_pass(cell, pass);
    for (std::int64_t unit = 0; unit < hidden; unit += kLanes) {
      for (std::int64_t k = 0; k < hidden; ++k) {
        for (int g = 0; g < gates; ++g) {
          for (std::int64_t i = unit; i < unit + kLanes; ++i)
            *to++ = i < hidden ? r[((first + g) * hidden + i) * hidden + k] : 0.0f;
        }
      }
    }
    first += gates;
  }
}

std::int64_t vector_lanes() { return kLanes; }

}  // namespace ml::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ml::cpu {

HWY_EXPORT(run_step);
HWY_EXPORT(pack_weights);
HWY_EXPORT(vector_lanes);

RecurrentFunctions recurrent_functions() {
  return {HWY_DYNAMIC_DISPATCH(vector_lanes)(), HWY_DYNAMIC_DISPATCH(pack_weights), HWY_DYNAMIC_DISPATCH(run_step)};
}

}  // namespace ml::cpu
#endif  // HWY_ONCE
