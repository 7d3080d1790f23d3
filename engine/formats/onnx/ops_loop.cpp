// Loop. When its condition stays true it is a scan over its turns; when it carries sequences, or shapes that depend on
// the turn, its turns are written out; otherwise it is a `while`.
#include <algorithm>
#include <array>
#include <optional>

#include "engine/formats/onnx/extents.h"
#include "engine/formats/onnx/subgraphs.h"
#include "engine/formats/onnx/value_operators.h"
#include "engine/graph/build_control.h"
#include "engine/graph/build_dynamic.h"

namespace ml::onnx {
namespace {

using Node = const NodeContext&;
using Values = std::vector<Value>;

constexpr std::int64_t kFewTurns = 64;                    // that are written out where it makes shapes known
constexpr std::int64_t kNoLimit = std::int64_t{1} << 40;  // a trip count from here on is none

// The value of a scalar that there is and that is known.
std::optional<std::int64_t> told(Var x) { return x ? known_integer(x) : std::nullopt; }

class Loop {
 public:
  explicit Loop(Node n) : n_(n), body_(n.subgraph("body")) {
    for (std::size_t i = 2; i < n.input_count(); ++i) initial_.push_back(n.value(i));
    if (body_.input_count() != initial_.size() + 2 || body_.output_count() < initial_.size() + 1) {
      n.invalid("it carries " + std::to_string(initial_.size()) + " values, its body takes " +
                std::to_string(body_.input_count()) + " inputs and answers " + std::to_string(body_.output_count()));
    }
    if (n.has(0)) limit_ = n.settled(cast(one_element(n.in(0)), DType::i64));
    if (n.has(1)) condition_ = n.settled(one_element(n.in(1)));
    if (told(limit_) && *told(limit_) >= kNoLimit) limit_ = {};
  }

  Values run() {
    if (told(condition_) == 0 || (told(limit_) && *told(limit_) <= 0)) return no_turn();
    if (!all_tensors(initial_)) return written_out();
    const Turn turn = import_tensors();
    if (!all_tensors(turn.results)) return written_out();
    const std::optional<std::int64_t> again = told(turn.results[0].tensor);
    if (!n_.has(1) || again == 1) return counted(turn);
    return again == 0 ? at_most_once(turn) : conditional(turn);
  }

 private:
  static bool all_tensors(std::span<const Value> values) {
    return std::ranges::all_of(values, [](const Value& value) { return value.kind == Value::Kind::tensor; });
  }
  Graph& graph() const { return n_.graph; }
  std::size_t carried() const { return initial_.size(); }
  std::size_t stacked() const { return body_.output_count() - 1 - carried(); }
  std::vector<Var> initial_tensors() const { return leaves_of(initial_); }

  // The turn's number, then what is carried. In the body the condition is true, since the turn takes place.
  Turn import_tensors() const {
    std::vector<TensorType> types{{DType::i64, {}}};
    for (const Var& value : initial_tensors()) types.push_back(value.type());
    return import_turn(n_, body_, types, 1, carried(), 1, [](std::span<const Var> inputs) {
      Values arguments(inputs.begin(), inputs.end());
      arguments.insert(arguments.begin() + 1, scalar(*inputs[0].graph, DType::boolean, 1));
      return arguments;
    });
  }

  // Nothing is carried any further, nothing is stacked; the body tells the types.
  Values no_turn() const {
    Values results = initial_;
    if (stacked() == 0) return results;
    if (!all_tensors(initial_)) n_.unsupported("a Loop without a turn that carries sequences and stacks outputs");
    const Turn turn = import_tensors();
    for (std::size_t i = 0; i < stacked(); ++i) {
      const Value& slice = turn.results[1 + carried() + i];
      if (slice.kind != Value::Kind::tensor) n_.invalid("it stacks " + describe(slice));
      Shape shape{0};
      for (const std::int64_t extent : slice.tensor.shape().dims()) shape.append(extent == kUnknown ? 0 : extent);
      results.emplace_back(full(graph(), slice.tensor.dtype(), shape, 0));
    }
    return results;
  }

  // Every turn in the node's own graph.
  Values written_out() const {
    Values values = initial_;
    std::vector<std::vector<Var>> stacks(stacked());
    Var condition = condition_;
    for (std::int64_t turn = 0;; ++turn) {
      if (limit_ && !told(limit_)) refuse_unknown("trip count");
      if (limit_ && turn >= *told(limit_)) break;
      if (condition && !told(condition)) refuse_unknown("condition");
      if (told(condition) == 0) break;
      Values arguments{number_of(graph(), turn), scalar(graph(), DType::boolean, 1)};
      arguments.insert(arguments.end(), values.begin(), values.end());
      const Values results = body_.import(arguments, n_.target());
      if (n_.has(1)) {
        if (results[0].kind != Value::Kind::tensor) n_.invalid("its condition is " + describe(results[0]));
        condition = n_.settled(one_element(results[0].tensor));
      }
      std::copy_n(results.begin() + 1, carried(), values.begin());
      for (std::size_t i = 0; i < stacked(); ++i) {
        const Value& slice = results[1 + carried() + i];
        if (slice.kind != Value::Kind::tensor) n_.invalid("it stacks " + describe(slice));
        stacks[i].push_back(unsqueeze(slice.tensor, {0}));
      }
    }
    for (const std::vector<Var>& slices : stacks) {
      if (slices.empty()) n_.unsupported("a Loop without a turn that carries sequences and stacks outputs");
      values.emplace_back(concat(slices, 0));
    }
    return values;
  }

  [[noreturn]] void refuse_unknown(const char* what) const {
    n_.undecided(std::string("it carries sequences, and its ") + what +
                 " is not known: the number of turns decides how many tensors the sequences hold");
  }

  // The number of turns of a loop that would make `most` if its condition stayed what it is at first.
  Var turns(Var most) const {
    const Var none = number_of(graph(), 0);
    return condition_ && !told(condition_) ? select(condition_, maximum(most, none), none) : maximum(most, none);
  }

  Values counted(const Turn& turn) const {
    if (!limit_) n_.invalid("it never ends: it has no trip count and its condition stays true");
    if (!told(limit_) || (condition_ && !told(condition_))) return scanned(turn, kUnknown, turns(limit_));
    const bool vague = !turn.steady || !turn.target->graph.bound();
    const bool sharp = std::ranges::all_of(initial_, [](const Value& v) { return v.tensor.shape().known(); });
    if (vague && sharp && *told(limit_) <= kFewTurns) return written_out();
    return scanned(turn, *told(limit_), {});
  }

  // Its condition is false after the first turn.
  Values at_most_once(const Turn& turn) const {
    const Var one = number_of(graph(), 1);
    if (told(condition_) && (!limit_ || told(limit_))) return written_out();
    return scanned(turn, kUnknown, turns(limit_ ? minimum(limit_, one) : one));
  }

  // A scan of `length` turns, or of as many as the scalar `count` says: then over that many elements that the body
  // doesn't look at. A body that doesn't look at the turn's number has none.
  Values scanned(const Turn& turn, std::int64_t length, Var count) const {
    Graph& inside = turn.target->graph;
    const Var number{&inside, inside.inputs()[0].value};
    const std::vector<Var> answered = leaves_of(turn.results);
    const bool is_read = use_counts(inside)[number.id] > 0 || std::ranges::count(answered, number.id, &Var::id) > 0;
    const std::size_t uncounted = carried() > 0 && !is_read ? 1 : 0;
    std::vector<Var> results, state, over;
    if (uncounted == 0) {
      results.push_back(number + 1.0);
      state.push_back(number_of(graph(), 0));
    }
    results.insert(results.end(), answered.begin() + 1, answered.end());
    const ImportedBody body = finish(*turn.target, results);
    const std::vector<Var> captured = captured_by(std::array{&body});
    const std::vector<Var> values = initial_tensors();
    state.insert(state.end(), values.begin(), values.end());
    if (count) over.push_back(n_.settled(expand_to(scalar(graph(), DType::boolean, 0), reshape(count, Shape{1}))));
    const std::vector<TensorType> ignored(over.size(), TensorType{DType::boolean, {}});
    const std::vector<Var> all =
        scan(close(body, captured, ignored, uncounted), state, over, captured, {.length = length});
    return {all.end() - static_cast<std::ptrdiff_t>(carried() + stacked()), all.end()};
  }

  // A `while` over: turn's number, what is carried, whether to go on, one buffer for each stacked output.
  Values conditional(const Turn& turn) const {
    const ImportedBody core = finish(*turn.target, leaves_of(turn.results));
    std::vector<Var> captured = captured_by(std::array{&core});
    std::size_t limit_at = captured.size();
    if (limit_) {
      limit_at = static_cast<std::size_t>(std::ranges::find(captured, limit_.id, &Var::id) - captured.begin());
      if (limit_at == captured.size()) captured.push_back(limit_);
    }
    std::vector<Var> state{number_of(graph(), 0)};
    for (const Var& value : initial_tensors()) state.push_back(value);
    state.push_back(condition_);
    std::vector<TensorType> types = turn.types;
    types.push_back({DType::boolean, {}});
    for (std::size_t i = 0; i < stacked(); ++i) {
      const Graph& inside = core.graph;
      const TensorType& slice = inside.type(inside.outputs()[1 + carried() + i].value);
      state.push_back(buffer_of(slice));
      types.push_back({state.back().dtype(), with_length(kUnknown, slice.shape)});
    }
    const std::vector<Var> results =
        while_loop(going_on(types, captured, limit_at), one_turn(types, core, captured), state, captured);
    Values answers(results.begin() + 1, results.begin() + 1 + static_cast<std::ptrdiff_t>(carried()));
    const Var end = reshape(results[0], Shape{1});
    for (std::size_t i = 0; i < stacked(); ++i) {
      const Var buffer = results[2 + carried() + i];
      const Var filled = slice_by(buffer, vector_of(graph(), {0}), end, vector_of(graph(), {1}), {0});
      answers.emplace_back(cast(filled, turn.results[1 + carried() + i].tensor.dtype()));
    }
    return answers;
  }

  static Shape with_length(std::int64_t length, const Shape& slice) {
    Shape shape{length};
    for (const std::int64_t extent : slice.dims()) shape.append(extent);
    return shape;
  }

  // As long as the trip count; without one it grows from nothing.
  Var buffer_of(const TensorType& slice) const {
    if (!slice.shape.known())
      n_.unsupported("an output stacked from tensors " + slice.shape.str() +
                     " in a Loop that ends when its condition says so");
    const DType dtype = slice.dtype == DType::boolean ? DType::u8 : slice.dtype;
    if (!limit_) return full(graph(), dtype, with_length(0, slice.shape), 0);
    const Var length = maximum(reshape(limit_, Shape{1}), number_of(graph(), 0));
    const Ints rest(slice.shape.begin(), slice.shape.end());
    return n_.settled(
        expand_to(scalar(graph(), dtype, 0), concat(std::vector<Var>{length, vector_of(graph(), rest)}, 0)));
  }

  struct Opened {
    std::shared_ptr<Graph> graph;
    std::vector<Var> state, captured;
  };
  static Opened opened(std::span<const TensorType> types, std::span<const Var> captured) {
    Opened result{std::make_shared<Graph>(), {}, {}};
    Graph& graph = *result.graph;
    const auto add = [&graph](const TensorType& type) {
      return Var{&graph, graph.add_input("in" + std::to_string(graph.inputs().size()), type)};
    };
    for (const TensorType& type : types) result.state.push_back(add(type));
    for (const Var& value : captured) result.captured.push_back(add(value.type()));
    return result;
  }

  GraphPtr going_on(std::span<const TensorType> types, std::span<const Var> captured, std::size_t limit_at) const {
    const Opened in = opened(types, captured);
    Var goes_on = in.state[1 + carried()];
    if (limit_) goes_on = logical_and(goes_on, lt(in.state[0], in.captured[limit_at]));
    output("goes_on", goes_on);
    return in.graph;
  }

  GraphPtr one_turn(std::span<const TensorType> types, const ImportedBody& core, std::span<const Var> captured) const {
    const Opened in = opened(types, captured);
    const GraphPtr closed = close(core, captured);
    std::vector<ValueId> arguments;
    for (std::size_t i = 0; i <= carried(); ++i) arguments.push_back(in.state[i].id);
    for (const Var& value : in.captured) arguments.push_back(value.id);
    std::vector<Var> results;
    for (const ValueId id : inline_graph(*in.graph, *closed, arguments)) results.push_back({in.graph.get(), id});
    std::vector<Var> next{in.state[0] + 1.0};
    next.insert(next.end(), results.begin() + 1, results.begin() + 1 + static_cast<std::ptrdiff_t>(carried()));
    next.push_back(one_element(results[0]));
    for (std::size_t i = 0; i < stacked(); ++i) {
      const Var buffer = in.state[2 + carried() + i];
      const Var slice = unsqueeze(cast(results[1 + carried() + i], buffer.dtype()), {0});
      next.push_back(limit_ ? scatter_add(buffer, reshape(in.state[0], Shape{1}), slice, 0)
                            : concat(std::vector<Var>{buffer, slice}, 0));
    }
    for (std::size_t i = 0; i < next.size(); ++i) output("next" + std::to_string(i), next[i]);
    return in.graph;
  }

  Node n_;
  Subgraph body_;
  Values initial_;
  Var limit_, condition_;  // empty when there is none
};

std::vector<Value> loop_operator(Node n) { return Loop(n).run(); }

constexpr ValueOperator kOperators[] = {
    {"Loop", 1, kLatestOpset, loop_operator},
};

}  // namespace

std::span<const ValueOperator> loop_operators() { return kOperators; }

}  // namespace ml::onnx
