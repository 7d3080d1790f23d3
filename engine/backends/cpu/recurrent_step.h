// What one step of a recurrent layer is: kernel_recurrent.cpp compiles it per instruction set, recurrent.cpp walks
// through the steps.
//
// Hidden units are taken a vector at a time: the weights of such a chunk are packed as [k][gate][lanes], so that the
// sums of all its gates are in registers when the gates are put together.
#pragma once

#include <cstdint>

namespace ml::cpu {

enum class RecurrentCell : std::uint8_t { lstm, gru, gru_after };  // after: the reset gate scales the product

struct RecurrentStep {
  std::int64_t hidden;  // H
  std::int64_t line;    // floats of a state's row in scratch, a multiple of every vector
  const float* gates;   // of this step and direction; row b at b * gates_stride, gate g at g * H
  std::int64_t gates_stride;
  const float* weights;        // packed, of this direction
  const float* bias;           // [H], of gru_after
  const std::uint8_t* within;  // per row: false behind the end of its sequence; null: all are within
  const float* h;              // [B][line] before the step
  float* next;                 // [B][line] after it
  float* c;                    // [B][line], of lstm: updated
  float *update, *reset_h;     // [B][line], of gru: what its two passes share
  float* y;                    // row b at b * y_stride; null when nobody reads it
  std::int64_t y_stride;
};

struct RecurrentFunctions {
  std::int64_t lanes;  // units of a chunk
  // Packs r [gates H, H] of one direction; `to` has packed_floats.
  void (*pack)(RecurrentCell cell, const float* r, std::int64_t hidden, float* to);
  // Rows [first_row, last_row), chunks [first_chunk, last_chunk). Gru has a second pass, behind the first of all
  // chunks.
  void (*run)(RecurrentCell cell, int pass, const RecurrentStep& step, std::int64_t first_row, std::int64_t last_row,
              std::int64_t first_chunk, std::int64_t last_chunk);

  std::int64_t chunks(std::int64_t hidden) const { return (hidden + lanes - 1) / lanes; }
};
constexpr int gate_count(RecurrentCell cell) { return cell == RecurrentCell::lstm ? 4 : 3; }
constexpr int pass_count(RecurrentCell cell) { return cell == RecurrentCell::gru ? 2 : 1; }

// Those of this machine's instruction set.
RecurrentFunctions recurrent_functions();

}  // namespace ml::cpu
