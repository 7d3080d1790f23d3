// Sequences: lists of tensors whose length is known. A position may be computed while the graph runs; then every
// element that may be meant is a candidate.
#include <algorithm>
#include <memory>

#include "engine/formats/onnx/extents.h"
#include "engine/formats/onnx/value_operators.h"
#include "engine/graph/build_control.h"

namespace ml::onnx {
namespace {

using Node = const NodeContext&;
using Values = std::vector<Value>;

constexpr std::int64_t kMostParts = 1 << 16;  // that an input is split into

constexpr std::int64_t kCopied = 64;  // elements, at the price of a node

const Values& elements_of(Node n, std::size_t i) {
  const Value& value = n.value(i);
  n.target().charge(static_cast<std::int64_t>(value.elements.size()) / kCopied);
  if (value.kind != Value::Kind::sequence)
    n.invalid("input " + std::to_string(i) + " is " + describe(value) + ", a sequence is wanted");
  return value.elements;
}

GraphPtr answering(const TensorType& first, const TensorType& second, int which) {
  auto graph = std::make_shared<Graph>();
  const ValueId a = graph->add_input("a", first), b = graph->add_input("b", second);
  graph->add_output("chosen", which == 0 ? a : b);
  return graph;
}

// candidates[index] for an index in range.
Var chosen(Node n, std::span<const Var> candidates, Var index) {
  n.target().charge(static_cast<std::int64_t>(candidates.size()));
  const TensorType& type = candidates[0].type();
  bool equal = type.shape.known();
  for (const Var& other : candidates) {
    equal = equal && other.type() == type;
    if (other.dtype() != type.dtype || other.rank() != type.shape.rank())
      n.unsupported("a position that is not known among tensors of different dtypes or ranks");
  }
  if (equal) {
    std::vector<Var> rows;
    for (const Var& candidate : candidates) rows.push_back(unsqueeze(candidate, {0}));
    return gather(concat(rows, 0), index, 0);
  }
  Var result = candidates.back();
  for (std::size_t i = candidates.size() - 1; i-- > 0;) {
    if (candidates[i].id == result.id) continue;
    const std::vector<Var> both{candidates[i], result};
    const Var here = eq(index, static_cast<double>(i));
    result = if_else(here, answering(both[0].type(), both[1].type(), 0), answering(both[0].type(), both[1].type(), 1),
                     both)[0];
  }
  return result;
}

// A position in [0, count), and where it is known.
struct Position {
  Var number;
  std::optional<std::int64_t> known;
};
Position position_of(Node n, std::size_t input, std::int64_t count) {
  Var number = number_input(n, input);
  Position position{number, known_integer(number)};
  if (!position.known) {
    position.number = select(lt(number, 0.0), number + static_cast<double>(count), number);
    return position;
  }
  std::int64_t& known = *position.known;
  if (known < -count || known >= count)
    n.invalid("position " + std::to_string(known) + " in a sequence of " + std::to_string(count));
  if (known < 0) known += count;
  return position;
}

Values construct(Node n) {
  Values elements;
  for (std::size_t i = 0; i < n.input_count(); ++i) elements.emplace_back(n.in(i));
  return {Value::sequence(std::move(elements))};
}

Values empty(Node) { return {Value::sequence({})}; }

Values length(Node n) { return {number_of(n.graph, static_cast<std::int64_t>(elements_of(n, 0).size()))}; }

Values at(Node n) {
  const Values& elements = elements_of(n, 0);
  const Position position = position_of(n, 1, static_cast<std::int64_t>(elements.size()));
  if (position.known) return {elements[static_cast<std::size_t>(*position.known)]};
  if (elements.empty()) n.invalid("an element of an empty sequence");
  return {chosen(n, leaves_of(elements), position.number)};
}

// Where each element of the result comes from depends on which side of the position it is.
Values insert(Node n) {
  Values elements = elements_of(n, 0);
  const Var added = n.in(1);
  const auto count = static_cast<std::int64_t>(elements.size());
  if (!n.has(2)) {
    elements.emplace_back(added);
    return {Value::sequence(std::move(elements))};
  }
  const Var number = number_input(n, 2);
  // Behind the last element is a position too; negative ones count from the end without it.
  if (const auto known = known_integer(number)) {
    if (*known < -count || *known > count)
      n.invalid("position " + std::to_string(*known) + " to insert at in a sequence of " + std::to_string(count));
    elements.emplace(elements.begin() + static_cast<std::ptrdiff_t>(*known < 0 ? *known + count : *known), added);
    return {Value::sequence(std::move(elements))};
  }
  const Var place = select(lt(number, 0.0), number + static_cast<double>(count), number);
  Values result;
  for (std::int64_t i = 0; i <= count; ++i) {
    const Var before = i < count ? elements[static_cast<std::size_t>(i)].tensor : added;
    const Var behind = i > 0 ? elements[static_cast<std::size_t>(i - 1)].tensor : added;
    const Var side = sub(static_cast<double>(i), place);
    const Var index = maximum(minimum(side, 1.0), -1.0) + 1.0;
    result.emplace_back(chosen(n, std::vector<Var>{before, added, behind}, index));
  }
  return {Value::sequence(std::move(result))};
}

Values erase(Node n) {
  Values elements = elements_of(n, 0);
  if (elements.empty()) n.invalid("an element of an empty sequence");
  const auto count = static_cast<std::int64_t>(elements.size());
  const Position position = n.has(1) ? position_of(n, 1, count) : Position{{}, count - 1};
  if (position.known) {
    elements.erase(elements.begin() + static_cast<std::ptrdiff_t>(*position.known));
    return {Value::sequence(std::move(elements))};
  }
  Values result;
  for (std::size_t i = 0; i + 1 < elements.size(); ++i) {
    const Var index = cast(ge(static_cast<double>(i), position.number), DType::i64);
    result.emplace_back(chosen(n, std::vector<Var>{elements[i].tensor, elements[i + 1].tensor}, index));
  }
  return {Value::sequence(std::move(result))};
}

Values concatenated(Node n) {
  const Values& elements = elements_of(n, 0);
  if (elements.empty()) n.invalid("nothing to put together: the sequence is empty");
  if (!n.has_attribute("axis")) n.invalid("attribute 'axis' is missing");
  std::vector<Var> parts = leaves_of(elements);
  const bool stacks = n.integer("new_axis", 0) != 0;
  const int axis = normalize_axis(n.integer("axis", 0), parts[0].rank() + (stacks ? 1 : 0), "axis");
  if (stacks) std::ranges::transform(parts, parts.begin(), [axis](Var x) { return unsqueeze(x, {axis}); });
  return {concat(parts, axis)};
}

// Parts of equal size (the last may be smaller), of the sizes that a vector says, or single slices.
Values split(Node n) {
  const Var x = n.in(0);
  const int axis = normalize_axis(n.integer("axis", 0), x.rank(), "axis");
  const std::int64_t extent = x.shape()[axis];
  std::vector<Var> ends;
  const bool sizes = n.has(1) && n.in(1).rank() == 1;
  if (sizes) {
    const Var vector = n.settled(cast(n.in(1), DType::i64));
    const std::int64_t parts = vector.shape()[0];
    if (parts == kUnknown)
      n.undecided("the number of parts decides how many tensors a sequence holds, and is not known");
    if (parts > kMostParts) n.unsupported("a split into " + std::to_string(parts) + " parts");
    Var end = number_of(n.graph, 0);
    for (std::int64_t i = 0; i < parts; ++i) ends.push_back(end = n.settled(end + element(n, vector, i)));
    if (const auto total = known_integer(end); total && extent != kUnknown && *total != extent)
      n.invalid("its parts add up to " + std::to_string(*total) + ", the axis has " + std::to_string(extent));
  } else {
    const std::optional<std::int64_t> size = n.has(1) ? known_integer(number_input(n, 1)) : 1;
    if (!size) n.undecided("the size of a part decides how many tensors a sequence holds, and is not known");
    if (extent == kUnknown)
      n.undecided("the extent that is split decides how many tensors a sequence holds, and is not known");
    if (*size <= 0) n.invalid("parts of " + std::to_string(*size));
    if (extent / *size >= kMostParts) n.unsupported("a split into " + std::to_string(extent / *size) + " parts");
    for (std::int64_t end = *size; end < extent + *size; end += *size)
      ends.push_back(number_of(n.graph, std::min(end, extent)));
  }
  n.target().charge(static_cast<std::int64_t>(ends.size()));
  const bool drops = !n.has(1) && n.integer("keepdims", 1) == 0;
  Values elements;
  Var begin = number_of(n.graph, 0);
  for (const Var& end : ends) {
    const Var part = part_of(n, x, axis, begin, end);
    elements.emplace_back(drops ? squeeze(part, {axis}) : part);
    begin = end;
  }
  return {Value::sequence(std::move(elements))};
}

// The body on element after element of the first sequence, with the elements of the others or with the same tensor.
Values mapped(Node n) {
  const Subgraph body = n.subgraph("body");
  const std::size_t count = elements_of(n, 0).size();
  for (std::size_t i = 1; i < n.input_count(); ++i) {
    if (n.value(i).kind == Value::Kind::sequence && n.value(i).elements.size() != count)
      n.invalid("sequences of " + std::to_string(count) + " and " + std::to_string(n.value(i).elements.size()));
  }
  std::vector<Values> results(body.output_count());
  for (std::size_t k = 0; k < count; ++k) {
    Values arguments;
    for (std::size_t i = 0; i < n.input_count(); ++i)
      arguments.push_back(n.value(i).kind == Value::Kind::sequence ? n.value(i).elements[k] : n.value(i));
    const Values answers = body.import(arguments, n.target());
    for (std::size_t i = 0; i < answers.size(); ++i) {
      if (answers[i].kind != Value::Kind::tensor) n.invalid("its body answers " + describe(answers[i]));
      results[i].push_back(answers[i]);
    }
  }
  Values sequences;
  for (Values& result : results) sequences.push_back(Value::sequence(std::move(result)));
  return sequences;
}

constexpr ValueOperator kOperators[] = {
    {"ConcatFromSequence", 11, kLatestOpset, concatenated},
    {"SequenceAt", 11, kLatestOpset, at},
    {"SequenceConstruct", 11, kLatestOpset, construct},
    {"SequenceEmpty", 11, kLatestOpset, empty},
    {"SequenceErase", 11, kLatestOpset, erase},
    {"SequenceInsert", 11, kLatestOpset, insert},
    {"SequenceLength", 11, kLatestOpset, length},
    {"SequenceMap", 17, kLatestOpset, mapped},
    {"SplitToSequence", 11, kLatestOpset, split},
};

}  // namespace

std::span<const ValueOperator> list_operators() { return kOperators; }

}  // namespace ml::onnx
