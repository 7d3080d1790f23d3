// Scan: of operator set 8 with a batch, and since 9 along any axis.
#include <algorithm>
#include <array>
#include <numeric>

#include "engine/formats/onnx/subgraphs.h"
#include "engine/formats/onnx/value_operators.h"
#include "engine/graph/build_control.h"

namespace ml::onnx {
namespace {

using Node = const NodeContext&;
using Values = std::vector<Value>;

// Axis `from` becomes axis `to`, the others keep their order.
Var move_axis(Var x, int from, int to) {
  if (from == to) return x;
  Ints order(static_cast<std::size_t>(x.rank()));
  std::iota(order.begin(), order.end(), 0);
  order.erase(order.begin() + from);
  order.insert(order.begin() + to, from);
  return transpose(x, order);
}

TensorType slice_of(Node n, Var x) {
  if (x.rank() == 0) n.invalid("it scans a scalar");
  return {x.dtype(), Shape(x.shape().dims().subspan(1))};
}

// What is scanned is behind what is carried, from input `first` on.
struct Operands {
  std::vector<Var> carried, scanned;
};
Operands operands_of(Node n, std::size_t first) {
  const std::int64_t scanned = n.integer("num_scan_inputs", 0);
  const auto all = static_cast<std::int64_t>(n.input_count()) - static_cast<std::int64_t>(first);
  if (scanned <= 0 || scanned > all)
    n.invalid("num_scan_inputs is " + std::to_string(scanned) + " of " + std::to_string(all) + " operands");
  Operands result;
  for (std::size_t i = first; i < n.input_count(); ++i) {
    const bool is_carried = static_cast<std::int64_t>(i - first) < all - scanned;
    (is_carried ? result.carried : result.scanned).push_back(n.in(i));
  }
  return result;
}

// One entry per scanned input or stacked output, 0 when there are none.
Ints per_value(Node n, const char* name, std::size_t count) {
  const Ints values = n.ints(name, Ints(count, 0));
  if (values.size() != count)
    n.invalid(std::string(name) + " has " + std::to_string(values.size()) + " entries, " + std::to_string(count) +
              " are needed");
  return values;
}

std::size_t stacked_count(Node n, const Subgraph& body, const Operands& operands) {
  if (body.input_count() != operands.carried.size() + operands.scanned.size() ||
      body.output_count() < operands.carried.size()) {
    n.invalid("it carries " + std::to_string(operands.carried.size()) + " and scans " +
              std::to_string(operands.scanned.size()) + " values, its body takes " +
              std::to_string(body.input_count()) + " and answers " + std::to_string(body.output_count()));
  }
  return body.output_count() - operands.carried.size();
}

ImportedBody import_body(Node n, const Subgraph& body, std::vector<TensorType> types, std::size_t carried) {
  const Turn turn = import_turn(n, body, std::move(types), 0, carried, 0,
                                [](std::span<const Var> inputs) { return Values(inputs.begin(), inputs.end()); });
  for (const Value& result : turn.results) {
    if (result.kind != Value::Kind::tensor) n.invalid("its body answers " + describe(result));
  }
  return finish(*turn.target, leaves_of(turn.results));
}

Values scan_operator(Node n) {
  const Subgraph body = n.subgraph("body");
  Operands operands = operands_of(n, 0);
  const std::size_t carried = operands.carried.size(), scanned = operands.scanned.size();
  const std::size_t stacked = stacked_count(n, body, operands);
  const Ints axes = per_value(n, "scan_input_axes", scanned), out_axes = per_value(n, "scan_output_axes", stacked);
  const Ints backwards = per_value(n, "scan_input_directions", scanned);
  const Ints out_backwards = per_value(n, "scan_output_directions", stacked);

  const auto back = [](std::int64_t direction) { return direction != 0; };
  const bool reverses = std::ranges::all_of(backwards, back) && std::ranges::all_of(out_backwards, back);

  std::vector<TensorType> types = types_of(operands.carried);
  for (std::size_t i = 0; i < scanned; ++i) {
    Var& x = operands.scanned[i];
    x = move_axis(x, normalize_axis(axes[i], x.rank(), "a scan input's axis"), 0);
    x = n.settled(back(backwards[i]) && !reverses ? reverse(x, {0}) : x);
    types.push_back(slice_of(n, x));
  }
  const ImportedBody turn = import_body(n, body, std::move(types), carried);
  const std::vector<Var> captured = captured_by(std::array{&turn});
  std::vector<Var> results =
      scan(close(turn, captured), operands.carried, operands.scanned, captured, {.reverse = reverses});
  for (std::size_t i = 0; i < stacked; ++i) {
    Var& y = results[carried + i];
    if (back(out_backwards[i]) && !reverses) y = reverse(y, {0});
    y = move_axis(y, 0, normalize_axis(out_axes[i], y.rank(), "a scan output's axis"));
  }
  return {results.begin(), results.end()};
}

// Operator set 8: everything has a batch axis in front, and each element of the batch is a scan of its own, of
// sequence_lens turns. Then what is carried stays as it is and what is stacked is zero.
class BatchScan {
 public:
  explicit BatchScan(Node n)
      : n_(n),
        body_(n.subgraph("body")),
        operands_(operands_of(n, 1)),
        stacked_(stacked_count(n, body_, operands_)),
        backwards_(per_value(n, "directions", operands_.scanned.size())) {}

  Values run() const {
    std::vector<TensorType> types;
    for (const Var& x : operands_.carried) types.push_back(slice_of(n_, x));
    for (const Var& x : operands_.scanned) {
      if (x.rank() < 2) n_.invalid("it scans " + describe(x) + ", which has no sequence behind its batch");
      types.push_back({x.dtype(), Shape(x.shape().dims().subspan(2))});
    }
    const ImportedBody turn = import_body(n_, body_, std::move(types), operands_.carried.size());
    const std::vector<Var> captured = captured_by(std::array{&turn});
    std::vector<Var> over = operands_.carried;
    over.insert(over.end(), operands_.scanned.begin(), operands_.scanned.end());
    if (n_.has(0)) over.push_back(cast(n_.in(0), DType::i64));
    const std::vector<Var> results = scan(of_one_element(turn, over, captured), {}, over, captured);
    return {results.begin(), results.end()};
  }

 private:
  std::size_t carried() const { return operands_.carried.size(); }
  std::size_t scanned() const { return operands_.scanned.size(); }

  GraphPtr of_one_element(const ImportedBody& turn, std::span<const Var> over, std::span<const Var> captured) const {
    auto graph = std::make_shared<Graph>();
    const auto add = [&graph](const TensorType& type) {
      return Var{graph.get(), graph->add_input("in" + std::to_string(graph->inputs().size()), type)};
    };
    std::vector<Var> values, outside;
    for (const Var& x : over) values.push_back(add(slice_of(n_, x)));
    for (const Var& x : captured) outside.push_back(add(x.type()));
    std::vector<Var> state(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(carried()));
    std::vector<Var> sequences(values.begin() + static_cast<std::ptrdiff_t>(carried()),
                               values.begin() + static_cast<std::ptrdiff_t>(carried() + scanned()));
    const Var length = n_.has(0) ? values.back() : Var{};
    for (std::size_t i = 0; i < scanned(); ++i) {
      if (backwards_[i] != 0) sequences[i] = backwards(sequences[i], length);
    }
    GraphPtr body = close(turn, captured);
    if (length) {
      body = only_while_it_lasts(*body);
      state.insert(state.begin(), scalar(*graph, DType::i64, 0));
      outside.insert(outside.begin(), length);
    }
    const std::vector<Var> results = scan(std::move(body), state, sequences, outside);
    for (std::size_t i = length ? 1 : 0; i < results.size(); ++i) output("out" + std::to_string(i), results[i]);
    return graph;
  }

  // From its last element on; of a sequence that ends earlier, from there.
  Var backwards(Var sequence, Var length) const {
    if (!length) return reverse(sequence, {0});
    const std::int64_t extent = sequence.shape()[0];
    if (extent == kUnknown) n_.unsupported("sequence_lens with a scan backwards over an unknown number of slices");
    const Var place = (length - 1.0) - iota(*sequence.graph, DType::i64, Shape{extent}, 0);
    return gather(sequence, maximum(place, 0.0), 0);
  }

  // body(carried..., slices..., captured...) as (turn, carried..., slices..., length, captured...).
  GraphPtr only_while_it_lasts(const Graph& body) const {
    auto graph = std::make_shared<Graph>();
    const auto add = [&graph](const TensorType& type) {
      return Var{graph.get(), graph->add_input("in" + std::to_string(graph->inputs().size()), type)};
    };
    const Var turn = add({DType::i64, {}});
    std::vector<ValueId> arguments;
    for (std::size_t i = 0; i < carried() + scanned(); ++i)
      arguments.push_back(add(body.type(body.inputs()[i].value)).id);
    const Var length = add({DType::i64, {}});
    for (std::size_t i = carried() + scanned(); i < body.inputs().size(); ++i)
      arguments.push_back(add(body.type(body.inputs()[i].value)).id);
    const std::vector<ValueId> results = inline_graph(*graph, body, arguments);
    const Var lasts = lt(turn, length);
    output("turn", turn + 1.0);
    for (std::size_t i = 0; i < results.size(); ++i) {
      const Var next{graph.get(), results[i]};
      const Var otherwise = i < carried() ? Var{graph.get(), arguments[i]} : scalar(*graph, next.dtype(), 0);
      output("out" + std::to_string(i), select(lasts, next, otherwise));
    }
    return graph;
  }

  Node n_;
  Subgraph body_;
  Operands operands_;
  std::size_t stacked_;
  Ints backwards_;
};

Values batch_scan_operator(Node n) { return BatchScan(n).run(); }

constexpr ValueOperator kOperators[] = {
    {"Scan", 8, 8, batch_scan_operator},
    {"Scan", 9, kLatestOpset, scan_operator},
};

}  // namespace

std::span<const ValueOperator> scan_operators() { return kOperators; }

}  // namespace ml::onnx
