// Building recurrent layers. What depends on a step's input alone is computed outside, for all steps by one product:
// `gates` [T, B, D, n H] are x w^T + bias for the n gates of each of D directions. The second of two directions runs
// from the last step to the first; `reverse` turns a single one.
//
// States are [D, B, H], results [T, B, D, H]. `lengths` (i32 or i64, [B], or an empty Var) says how many steps each
// sequence has: a state stays what it is behind them, and results are 0.
#pragma once

#include <functional>

#include "engine/graph/build.h"

namespace ml {

struct Recurrent {
  Var y, h, c;  // the results, and the states after the last step; c of lstm only
};
// ops/recurrent.cpp. Gates in the order input, output, forget, candidate: r [D, 4 H, H]. Hochreiter and Schmidhuber,
// 1997; Gers et al., 2000:
//   c' = sigmoid(f) c + sigmoid(i) tanh(g), h' = sigmoid(o) tanh(c'), where each gate has r h added to it.
Recurrent lstm(Var gates, Var r, Var h, Var c, Var lengths = {}, bool reverse = false);

// Gates in the order update, reset, candidate: r [D, 3 H, H]. Cho et al., arXiv 1406.1078:
//   h' = (1 - sigmoid(z)) tanh(g) + sigmoid(z) h, where g has r (reset h) added to it, or, with `bias` [D, H],
//   reset (r h + bias).
Recurrent gru(Var gates, Var r, Var h, Var bias = {}, Var lengths = {}, bool reverse = false);

// For cells that have no row. A cell makes the carried values (h first) after a step of the step's gates [B, n H], the
// carried values [B, H] before it, and the weights of its direction.
using Cell = std::function<std::vector<Var>(Var gates, std::span<const Var> carried, std::span<const Var> weights)>;
// Runs a cell for each direction; every weight has the directions first. Answers y, then the carried values.
std::vector<Var> run_cells(std::span<const Cell> cells, Var gates, std::span<const Var> carried,
                           std::span<const Var> weights, Var lengths, bool reverse);

using Activation = std::function<Var(Var)>;
struct CellFunctions {
  Activation gate = sigmoid;
  Activation candidate = tanh;
  Activation result = tanh;  // of lstm: h' = output result(c')
  // Before gates and candidates. ONNX's clip; as in ONNX Runtime the cell that `result` reads is not clipped.
  Activation bounded = [](Var x) { return x; };
};
// Weights {r, peepholes [D, 3 H]?}: those of the input, output and forget gate. `coupled`: the forget gate is 1 less
// the input gate.
Cell lstm_cell(const CellFunctions& functions, bool coupled = false);
Cell gru_cell(const CellFunctions& functions);     // weights {r, bias?}
Cell simple_cell(const CellFunctions& functions);  // weights {r}: h' = gate(gates + r h)

}  // namespace ml
