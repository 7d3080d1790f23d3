// Writing control flow. Bodies refer to what they capture by its name outside. ONNX's Loop asks its condition at the
// end of a turn, ours before one; a scan that its Scan can't express is a Loop with a trip count.
#include <algorithm>
#include <iterator>
#include <limits>

#include "engine/formats/onnx/extents.h"
#include "engine/formats/onnx/writer.h"
#include "engine/graph/build.h"
#include "engine/graph/ops/control.h"
#include "engine/passes/passes.h"

namespace ml::onnx {
namespace {

using Names = const std::vector<std::string>&;

std::vector<std::string> part(Names names, std::size_t first, std::size_t count) {
  const auto begin = names.begin() + static_cast<std::ptrdiff_t>(first);
  return {begin, begin + static_cast<std::ptrdiff_t>(count)};
}
std::vector<std::string> from(Names names, std::size_t first) { return part(names, first, names.size() - first); }

void write_if(Writer& w, const Node& node, Names in, Names out) {
  const auto& a = node.as<IfAttributes>();
  const std::vector<std::string> captured = from(in, 1);
  w.add_all("If", {in[0]},
            {{"then_branch", w.body(*a.then_body, captured)}, {"else_branch", w.body(*a.else_body, captured)}}, out);
}

// The body of a Loop while it is built: it takes the turn's number, its condition, and what else is added to it.
struct LoopBody {
  Graph graph;
  Var turn, goes_on;

  LoopBody() : turn(input(graph, "turn", DType::i64, {})), goes_on(input(graph, "goes_on", DType::boolean, {})) {}
  LoopBody(const LoopBody&) = delete;

  ValueId argument(const TensorType& type) {
    return graph.add_input("in" + std::to_string(graph.inputs().size()), type);
  }
  void answer(ValueId value) { graph.add_output("out" + std::to_string(graph.outputs().size()), value); }
};

// Of the carried values of a loop: those that begin with 0, count turns, and are nobody's result, are the turn's
// number.
std::vector<bool> counters_of(Writer& w, const Node& node, const Graph& body, std::size_t carried) {
  std::vector<bool> counts(carried);
  for (std::size_t i = 0; i < carried; ++i) {
    const ValueId before = body.inputs()[i].value;
    const ConstantData* start = w.graph.constant(node.inputs[i]);
    const Node* next = body.producer(body.outputs()[i].value);
    if (body.type(before) != TensorType{DType::i64, {}} || start == nullptr || element_as_int(*start, 0) != 0 ||
        next == nullptr || next->op->name != "add" || next->inputs[0] != before)
      continue;
    const ConstantData* step = body.constant(next->inputs[1]);
    counts[i] =
        step != nullptr && element_as_int(*step, 0) == 1 && w.uses(node.output(static_cast<std::uint32_t>(i))) == 0;
  }
  return counts;
}

// What is left of `names` without those of counters.
std::vector<std::string> without(const std::vector<bool>& dropped, Names names) {
  std::vector<std::string> left;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (i >= dropped.size() || !dropped[i]) left.push_back(names[i]);
  }
  return left;
}

void write_while(Writer& w, const Node& node, Names in, Names out) {
  const auto& a = node.as<WhileAttributes>();
  const auto carried = static_cast<std::size_t>(a.carried);
  const std::vector<bool> counters = counters_of(w, node, *a.body, carried);
  LoopBody loop;
  std::vector<ValueId> values;
  for (std::size_t i = 0; i < in.size(); ++i) {
    const bool counts = i < carried && counters[i];
    values.push_back(counts ? loop.turn.id : loop.argument(a.body->type(a.body->inputs()[i].value)));
  }
  std::ranges::copy(inline_graph(loop.graph, *a.body, values), values.begin());
  loop.answer(inline_graph(loop.graph, *a.condition, values)[0]);
  for (std::size_t i = 0; i < carried; ++i) {
    if (!counters[i]) loop.answer(values[i]);
  }
  std::vector<std::string> operands{"", w.inlined(*a.condition, in)[0]};
  std::ranges::copy(without(counters, part(in, 0, carried)), std::back_inserter(operands));
  w.add_all("Loop", operands, {{"body", w.body(passes::eliminate_dead_code(loop.graph), from(in, carried))}},
            without(counters, out));
}

// ONNX's Scan wants something to scan, and what it carries to keep its shape; ONNX Runtime's wants a turn at least.
bool scans(const Graph& graph, const Node& node) {
  const auto& a = node.as<ScanAttributes>();
  const auto carried = static_cast<std::size_t>(a.carried);
  for (std::size_t i = 0; i < carried; ++i) {
    const TensorType& type = graph.type(node.inputs[i]);
    if (!type.shape.known() || type != a.body->type(a.body->inputs()[i].value) ||
        type != a.body->type(a.body->outputs()[i].value))
      return false;
  }
  return a.scanned > 0 && graph.type(node.inputs[carried]).shape[0] > 0;
}
void write_scan(Writer& w, const Node& node, Names in, Names out) {
  const auto& a = node.as<ScanAttributes>();
  const auto own = static_cast<std::size_t>(a.carried + a.scanned);
  NamedAttributes attributes{{"num_scan_inputs", a.scanned}, {"body", w.body(*a.body, from(in, own))}};
  if (a.reverse) {
    attributes.emplace_back("scan_input_directions", Ints(static_cast<std::size_t>(a.scanned), 1));
    attributes.emplace_back("scan_output_directions", Ints(out.size() - static_cast<std::size_t>(a.carried), 1));
  }
  w.add_all("Scan", part(in, 0, own), attributes, out);
}

const Node* made_by(const Graph& graph, ValueId value, std::string_view op) {
  const Node* node = graph.producer(value);
  return node != nullptr && node->op->name == op ? node : nullptr;
}

std::string count_of(Writer& w, const Node& node) {
  const auto& a = node.as<ScanAttributes>();
  if (a.length != kUnknown) return w.number(DType::i64, static_cast<double>(a.length));
  const std::string scanned = w.name(node.inputs[static_cast<std::size_t>(a.carried)]);
  return w.add("Gather", {w.add("Shape", {scanned}), w.number(DType::i64, 0)});
}
// What a Loop is told of how long it goes on.
struct Turns {
  std::string most, goes_on;  // goes_on may be missing
};
// Where the only thing that is scanned was made for the sake of its length, what says that length: a scalar, perhaps
// under a condition. Loop makes no turn where the trip count is below 0, so what makes it 0 then is left out.
Turns turns_of(Writer& w, const Node& node) {
  const auto& a = node.as<ScanAttributes>();
  const Graph& graph = w.graph;
  if (a.length != kUnknown) return {count_of(w, node), ""};
  const ValueId scanned = node.inputs[static_cast<std::size_t>(a.carried)];
  const auto is_zero = [&graph](ValueId value) {
    const ConstantData* constant = graph.constant(value);
    return constant != nullptr && constant->shape.rank() == 0 && element_as_int(*constant, 0) == 0;
  };
  const Node* expand = made_by(graph, scanned, "expand_to");
  const Node* reshape = expand == nullptr ? nullptr : made_by(graph, expand->inputs[1], "reshape");
  if (reshape == nullptr || graph.type(reshape->inputs[0]).shape.rank() != 0) return {count_of(w, node), ""};
  ValueId count = reshape->inputs[0];
  Turns turns;
  if (const Node* choice = made_by(graph, count, "select"); choice != nullptr && is_zero(choice->inputs[2])) {
    turns.goes_on = w.name(choice->inputs[0]);
    count = choice->inputs[1];
  }
  if (const Node* most = made_by(graph, count, "maximum"); most != nullptr && is_zero(most->inputs[1]))
    count = most->inputs[0];
  turns.most = w.name(count);
  return turns;
}
void write_counted_loop(Writer& w, const Node& node, Names in, Names out) {
  const auto& a = node.as<ScanAttributes>();
  const auto carried = static_cast<std::size_t>(a.carried), scanned = static_cast<std::size_t>(a.scanned);
  const std::vector<bool> counters = counters_of(w, node, *a.body, carried);
  LoopBody loop;
  std::vector<ValueId> values;
  for (std::size_t i = 0; i < carried; ++i)
    values.push_back(counters[i] ? loop.turn.id : loop.argument(a.body->type(a.body->inputs()[i].value)));
  Var at = loop.turn;
  if (a.reverse) at = Var{&loop.graph, loop.argument({DType::i64, {}})} - 1.0 - at;
  for (std::size_t i = carried; i < in.size(); ++i) {
    const ValueId whole = loop.argument(w.graph.type(node.inputs[i]));
    values.push_back(i < carried + scanned ? gather({&loop.graph, whole}, at, 0).id : whole);
  }
  const std::vector<ValueId> results = inline_graph(loop.graph, *a.body, values);
  loop.answer(loop.goes_on.id);
  for (std::size_t i = 0; i < results.size(); ++i) {
    if (i >= carried || !counters[i]) loop.answer(results[i]);
  }
  const Turns turns = turns_of(w, node);
  std::vector<std::string> operands{turns.most, turns.goes_on}, captured = from(in, carried), answers = out;
  std::ranges::copy(without(counters, part(in, 0, carried)), std::back_inserter(operands));
  if (a.reverse) {
    captured.insert(captured.begin(), count_of(w, node));
    for (std::size_t i = carried; i < out.size(); ++i) answers[i] = w.fresh_name();
  }
  w.add_all("Loop", operands, {{"body", w.body(passes::eliminate_dead_code(loop.graph), captured)}},
            without(counters, answers));
  if (!a.reverse) return;
  const std::string last = w.integers({-1}), before = w.integers({std::numeric_limits<std::int64_t>::min()});
  for (std::size_t i = carried; i < out.size(); ++i)
    w.add("Slice", {answers[i], last, before, w.integers({0}), last}, {}, out[i]);
}

const OpWriter kWriters[] = {
    {"if", write_if},
    {"while", write_while},
    {"scan", write_scan, scans},
    {"scan", write_counted_loop},
};

}  // namespace

std::span<const OpWriter> control_writers() { return kWriters; }

}  // namespace ml::onnx
