// Recurrent layers: scans over time steps of which the rows are the usual cells. f16 and bf16 compute in f32 and round
// once, states too.
#include "engine/graph/ops/recurrent.h"

#include <algorithm>

#include "engine/graph/build_control.h"
#include "engine/graph/build_dynamic.h"
#include "engine/graph/build_recurrent.h"
#include "engine/graph/ops/differentiate.h"
#include "engine/graph/ops/families.h"
#include "engine/graph/ops/movement.h"
#include "engine/graph/ops/rules.h"

namespace ml {
namespace {

using Args = const RuleArguments&;

Var widened(Var x) { return cast(x, dtype_info(x.dtype()).compute); }

// Part `i` of the last dimension, cut into parts of `size`.
Var part(Var x, std::int64_t i, std::int64_t size, std::int64_t count = 1) {
  const auto rank = static_cast<std::size_t>(x.rank());
  Ints starts(rank, 0), ends(rank, kSliceToEnd);
  starts.back() = i * size;
  ends.back() = (i + count) * size;
  return slice(x, starts, ends);
}

// Element `i` of dimension `axis`, without it.
Var element(Var x, int axis, std::int64_t i) {
  const auto rank = static_cast<std::size_t>(x.rank());
  Ints starts(rank, 0), ends(rank, kSliceToEnd);
  starts[static_cast<std::size_t>(axis)] = i;
  ends[static_cast<std::size_t>(axis)] = i + 1;
  return squeeze(slice(x, starts, ends), {axis});
}

// bool [T, B, 1]: whether a step is within its sequence.
Var steps_within(Var gates, Var lengths) {
  const std::int64_t steps = gates.shape()[0];
  Graph& graph = *gates.graph;
  const Var number = steps != kUnknown
                         ? iota(graph, DType::i64, {steps}, 0)
                         : cumsum(expand_to(scalar(graph, DType::i64, 1), slice(shape_of(gates), {0}, {1})), 0, true);
  return lt(unsqueeze(number, {1, 2}), unsqueeze(cast(lengths, DType::i64), {0, 2}));
}

// One direction: gates [T, B, n H], carried [B, H] -> y [T, B, H], carried.
std::vector<Var> run_direction(const Cell& cell, Var gates, std::span<const Var> carried, std::span<const Var> weights,
                               Var within, bool reverse) {
  std::vector<Var> scanned{gates};
  if (within) scanned.push_back(within);
  const Turn turn = [&](std::span<const Var> before, std::span<const Var> step, std::span<const Var> own) {
    std::vector<Var> after = cell(step[0], before, own);
    Var y = after[0];
    if (within) {
      y = select(step[1], y, scalar(*y.graph, y.dtype(), 0));
      for (std::size_t i = 0; i < after.size(); ++i) after[i] = select(step[1], after[i], before[i]);
    }
    after.push_back(y);
    return after;
  };
  std::vector<Var> results = scan(turn, carried, scanned, weights, {.reverse = reverse});
  std::rotate(results.begin(), results.end() - 1, results.end());
  return results;
}

// What several extents that must be equal tell.
std::int64_t known_of(std::initializer_list<std::int64_t> extents) {
  for (const std::int64_t extent : extents) {
    if (extent != kUnknown) return extent;
  }
  return kUnknown;
}

// Row rules. (gates [T, B, D, n H], r [D, n H, H], states [D, B, H]..., bias [D, H]?, lengths [B]?) -> (y, states...)
template <std::int64_t gate_count, std::size_t states, bool biased>
std::vector<TensorType> infer_recurrent(const InferArguments& a) {
  rules::want_floating(a);
  rules::want_rank(a, 0, 4);
  for (std::size_t i = 1; i < 2 + states; ++i) rules::want_rank(a, i, 3);
  const Shape &gates = a.shape(0), &r = a.shape(1), &first = a.shape(2);
  const std::int64_t directions = known_of({gates[2], r[0], first[0]}), batch = known_of({gates[1], first[1]});
  const std::int64_t hidden = known_of({r[2], first[2]}), rows = rules::multiply_extents(a, hidden, gate_count);
  if (directions != kUnknown && directions != 1 && directions != 2)
    rules::fail(a, "wants one or two directions, got gates " + gates.str() + " and r " + r.str());
  if (directions == 2 && a.as<RecurrentAttributes>().reverse)
    rules::fail(a, "of two directions the second is the reverse one");
  const auto want = [&](std::size_t i, const Shape& shape, const char* what) {
    if (!rules::same_shape(a.shape(i), shape))
      rules::fail(a, std::string(what) + " " + rules::text(a.inputs[i]) + " wants shape " + shape.str());
  };
  want(0, {gates[0], batch, directions, rows}, "gates");
  want(1, {directions, rows, hidden}, "r");
  const Shape state{directions, batch, hidden};
  std::size_t next = 2;
  for (; next < 2 + states; ++next) want(next, state, "state");
  if (biased && next < a.inputs.size() && !is_integer(a.dtype(next))) want(next++, {directions, hidden}, "bias");
  for (std::size_t i = 1; i < next; ++i) {
    if (a.dtype(i) != a.dtype(0)) {
      rules::fail(a, "operands have different dtypes: " + rules::text(a.inputs[0]) + " and " + rules::text(a.inputs[i]),
                  "cast one of them");
    }
  }
  if (next < a.inputs.size()) {
    rules::want_index(a, next);
    want(next++, {batch}, "lengths");
  }
  if (next < a.inputs.size()) rules::fail(a, "takes nothing behind its lengths");
  std::vector<TensorType> types{{a.dtype(0), {gates[0], batch, directions, hidden}}};
  types.resize(1 + states, {a.dtype(0), state});
  return types;
}

template <std::size_t states>
std::vector<Var> decompose(const Cell& cell, Args a) {
  const Var gates = widened(a.inputs[0]);
  std::vector<Var> carried, weights{widened(a.inputs[1])};
  Var lengths;
  for (std::size_t i = 2; i < a.inputs.size(); ++i) {
    if (i < 2 + states)
      carried.push_back(widened(a.inputs[i]));
    else if (is_integer(a.inputs[i].dtype()))
      lengths = a.inputs[i];
    else
      weights.push_back(widened(a.inputs[i]));
  }
  const std::vector<Cell> cells(static_cast<std::size_t>(gates.shape()[2]), cell);
  std::vector<Var> results = run_cells(cells, gates, carried, weights, lengths, a.as<RecurrentAttributes>().reverse);
  for (Var& x : results) x = cast(x, a.inputs[0].dtype());
  return results;
}
std::vector<Var> decompose_lstm(Args a) { return decompose<2>(lstm_cell({}), a); }
std::vector<Var> decompose_gru(Args a) { return decompose<1>(gru_cell({}), a); }

// The products with r, and about 30 for each element's functions.
double flops(const InferArguments& a, std::span<const TensorType> outputs) {
  const double products = 2.0 * static_cast<double>(a.shape(0).elements()) * static_cast<double>(a.shape(1)[2]);
  return products + 30.0 * static_cast<double>(outputs[0].shape.elements());
}

const Op kOps[] = {
    {.name = "lstm",
     .kind = OpKind::composite,
     .min_inputs = 4,
     .max_inputs = 5,
     .infer = infer_recurrent<4, 2, false>,
     .gradient = gradient_of_decomposition<decompose_lstm>(),
     .make_attributes = attributes_of<RecurrentAttributes>,
     .decompose = decompose_lstm,
     .flops = flops},
    {.name = "gru",
     .kind = OpKind::composite,
     .min_inputs = 3,
     .max_inputs = 5,
     .infer = infer_recurrent<3, 1, true>,
     .gradient = gradient_of_decomposition<decompose_gru>(),
     .make_attributes = attributes_of<RecurrentAttributes>,
     .decompose = decompose_gru,
     .flops = flops},
};

AttributesPtr direction(bool reverse) {
  auto attributes = std::make_shared<RecurrentAttributes>();
  attributes->reverse = reverse;
  return attributes;
}

}  // namespace

std::span<const Op> recurrent_ops() { return kOps; }

Recurrent lstm(Var gates, Var r, Var h, Var c, Var lengths, bool reverse) {
  std::vector<Var> inputs{gates, r, h, c};
  if (lengths) inputs.push_back(lengths);
  const std::vector<Var> results = emit_all("lstm", inputs, direction(reverse));
  return {results[0], results[1], results[2]};
}

Recurrent gru(Var gates, Var r, Var h, Var bias, Var lengths, bool reverse) {
  std::vector<Var> inputs{gates, r, h};
  if (bias) inputs.push_back(bias);
  if (lengths) inputs.push_back(lengths);
  const std::vector<Var> results = emit_all("gru", inputs, direction(reverse));
  return {results[0], results[1], {}};
}

std::vector<Var> run_cells(std::span<const Cell> cells, Var gates, std::span<const Var> carried,
                           std::span<const Var> weights, Var lengths, bool reverse) {
  const Var within = lengths ? steps_within(gates, lengths) : Var{};
  std::vector<std::vector<Var>> by_result(1 + carried.size());  // per result, each direction's part
  for (std::size_t d = 0; d < cells.size(); ++d) {
    const auto number = static_cast<std::int64_t>(d);
    std::vector<Var> states, own;
    for (const Var& x : carried) states.push_back(element(x, 0, number));
    for (const Var& x : weights) own.push_back(element(x, 0, number));
    const std::vector<Var> results =
        run_direction(cells[d], element(gates, 2, number), states, own, within, reverse || d == 1);
    for (std::size_t i = 0; i < results.size(); ++i) by_result[i].push_back(unsqueeze(results[i], {i == 0 ? 2 : 0}));
  }
  std::vector<Var> results;
  for (std::size_t i = 0; i < by_result.size(); ++i)
    results.push_back(by_result[i].size() == 1 ? by_result[i][0] : concat(by_result[i], i == 0 ? 2 : 0));
  return results;
}

Cell lstm_cell(const CellFunctions& functions, bool coupled) {
  return [f = functions, coupled](Var gates, std::span<const Var> carried, std::span<const Var> weights) {
    const Var h = carried[0], c = carried[1];
    const std::int64_t hidden = weights[0].shape()[1];
    const Var all = gates + matmul(h, weights[0], false, true);
    // Gate i with its peephole to the cell.
    const auto gate = [&](std::int64_t i, Var cell) {
      const Var x = part(all, i, hidden);
      return f.gate(f.bounded(weights.size() > 1 ? x + cell * part(weights[1], i, hidden) : x));
    };
    const Var input = gate(0, c);
    const Var forget = coupled ? 1.0 - input : gate(2, c);
    const Var next = forget * c + input * f.candidate(f.bounded(part(all, 3, hidden)));
    return std::vector<Var>{gate(1, next) * f.result(next), next};
  };
}

Cell gru_cell(const CellFunctions& functions) {
  return [f = functions](Var gates, std::span<const Var> carried, std::span<const Var> weights) {
    const Var h = carried[0], r = weights[0];
    const std::int64_t hidden = r.shape()[1];
    const bool after = weights.size() > 1;  // the reset gate scales what the product has made
    const Var product = matmul(h, after ? r : slice(r, {0, 0}, {2 * hidden, kSliceToEnd}), false, true);
    const auto gate = [&](std::int64_t i) {
      return f.gate(f.bounded(part(gates, i, hidden) + part(product, i, hidden)));
    };
    const Var update = gate(0), reset = gate(1);
    const Var memory = after ? reset * (part(product, 2, hidden) + weights[1])
                             : matmul(reset * h, slice(r, {2 * hidden, 0}, {kSliceToEnd, kSliceToEnd}), false, true);
    const Var candidate = f.candidate(f.bounded(part(gates, 2, hidden) + memory));
    return std::vector<Var>{(1.0 - update) * candidate + update * h};
  };
}

Cell simple_cell(const CellFunctions& functions) {
  return [f = functions](Var gates, std::span<const Var> carried, std::span<const Var> weights) {
    return std::vector<Var>{f.gate(f.bounded(gates + matmul(carried[0], weights[0], false, true)))};
  };
}

}  // namespace ml
