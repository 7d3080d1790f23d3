// What operators meant before operator set 8, where that is not what they mean now.
#include <algorithm>

#include "engine/formats/onnx/extents.h"
#include "engine/graph/build_dynamic.h"

namespace ml::onnx {
namespace {

using Node = const NodeContext&;
using Results = std::vector<Var>;

// The row of a later version: its importer looks at the version itself, or only attributes came and went that say
// nothing of the result (consumed_inputs).
template <int version>
Results as_of(Node n) {
  const Operator* later = find_operator({}, n.op_type(), version);
  return later == nullptr ? Results{} : later->import(n);
}

// Before operator set 7 shapes were equal, or `broadcast` said that b takes part in dimensions of a: those from `axis`
// on, or the last ones. One element fits everything.
Var spread(Node n, Var a, Var b) {
  const std::string shapes = a.shape().str() + " and " + b.shape().str();
  if (n.integer("broadcast", 0) == 0) {
    bool equal = a.rank() == b.rank();
    for (int i = 0; equal && i < a.rank(); ++i)
      equal = a.shape()[i] == b.shape()[i] || a.shape()[i] == kUnknown || b.shape()[i] == kUnknown;
    if (!equal) n.invalid("shapes " + shapes + " differ and attribute 'broadcast' is not set");
    return b;
  }
  if (b.shape().known() && b.shape().elements() == 1) return reshape(b, {});
  if (b.rank() > a.rank()) n.invalid("shapes " + shapes + ": only the second operand can be broadcast");
  const int behind = a.rank() - b.rank();
  if (!n.has_attribute("axis")) return b;
  const int axis = normalize_axis(n.integer("axis", 0), a.rank(), "axis");
  if (axis > behind) n.invalid("axis " + std::to_string(axis) + " leaves too few dimensions in " + shapes);
  Ints ones;
  for (int i = axis; i < behind; ++i) ones.push_back(b.rank() + i - axis);
  return ones.empty() ? b : unsqueeze(b, ones);
}

template <Var (*op)(Var, Var)>
Results binary(Node n) {
  return {op(n.in(0), spread(n, n.in(0), n.in(1)))};
}
Results power(Node n) {
  const Var base = n.in(0);
  return {pow(base, cast(spread(n, base, n.in(1)), base.dtype()))};
}

// One slope for all, or one for each channel.
Results prelu(Node n) {
  const Var x = n.in(0);
  Var slope = n.in(1);
  if (slope.shape() == Shape{1}) {
    slope = reshape(slope, {});
  } else if (slope.rank() == 1 && x.rank() > 2) {
    Ints behind;
    for (int i = 1; i + 1 < x.rank(); ++i) behind.push_back(i);
    slope = unsqueeze(slope, behind);
  }
  return {select(lt(x, 0.0), x * slope, x)};
}

// Element types were named before they were numbered.
Results cast_to(Node n) {
  static constexpr std::pair<std::string_view, DType> kNames[] = {
      {"FLOAT", DType::f32},   {"UINT8", DType::u8},   {"INT8", DType::i8},    {"UINT16", DType::u16},
      {"INT16", DType::i16},   {"INT32", DType::i32},  {"INT64", DType::i64},  {"BOOL", DType::boolean},
      {"FLOAT16", DType::f16}, {"DOUBLE", DType::f64}, {"UINT32", DType::u32}, {"UINT64", DType::u64}};
  const std::string name = n.text("to", "");
  const auto* found = std::ranges::find(kNames, name, [](const auto& entry) { return std::string_view(entry.first); });
  if (found == std::end(kNames)) n.unsupported("a Cast to '" + name + "'");
  return {cast(n.in(0), found->second)};
}

Results reshape_operator(Node n) { return {reshape_to(n.in(0), vector_of(n.graph, n.ints("shape")))}; }

// Constants of the paper in less digits.
Results selu(Node n) {
  const Var x = n.in(0);
  const double alpha = n.number("alpha", 1.6732F), gamma = n.number("gamma", 1.0507F);
  return {select(gt(x, 0.0), x, expm1(minimum(x, 0.0)) * alpha) * gamma};
}

// The parts' sizes were an attribute or an input.
Results split(Node n) {
  if (!n.has(1)) return as_of<2>(n);
  const Var x = n.in(0);
  const int axis = normalize_axis(n.integer("axis", 0), x.rank(), "axis");
  const Var sizes = n.settled(cast(n.in(1), DType::i64));
  Results parts;
  Var begin = number_of(n.graph, 0);
  for (std::size_t i = 0; i < n.output_count(); ++i) {
    const Var end = n.settled(begin + element(n, sizes, static_cast<std::int64_t>(i)));
    parts.push_back(part_of(n, x, axis, begin, end));
    begin = end;
  }
  return parts;
}

constexpr Operator kOperators[] = {
    {"Add", 1, 6, binary<add>},
    {"And", 1, 6, binary<logical_and>},
    {"Cast", 1, 5, cast_to},
    {"Ceil", 1, 5, as_of<6>},
    {"Clip", 1, 5, as_of<6>},
    {"Concat", 1, 3, as_of<4>},
    {"Div", 1, 6, binary<div>},
    {"Elu", 1, 5, as_of<6>},
    {"Equal", 1, 6, binary<eq>},
    {"Exp", 1, 5, as_of<6>},
    {"Floor", 1, 5, as_of<6>},
    {"Gemm", 1, 6, as_of<7>},
    {"Greater", 1, 6, binary<gt>},
    {"HardSigmoid", 1, 5, as_of<6>},
    {"InstanceNormalization", 1, 5, as_of<6>},
    {"LeakyRelu", 1, 5, as_of<6>},
    {"Less", 1, 6, binary<lt>},
    {"Log", 1, 5, as_of<6>},
    {"Max", 1, 7, as_of<8>},
    {"Mean", 1, 7, as_of<8>},
    {"Min", 1, 7, as_of<8>},
    {"Mul", 1, 6, binary<mul>},
    {"Neg", 1, 5, as_of<6>},
    {"Or", 1, 6, binary<logical_or>},
    {"PRelu", 1, 6, prelu},
    {"PRelu", 7, 8, as_of<9>},
    {"Pow", 1, 6, power},
    {"Reciprocal", 1, 5, as_of<6>},
    {"Relu", 1, 5, as_of<6>},
    {"Reshape", 1, 4, reshape_operator},
    {"Selu", 1, 5, selu},
    {"Sigmoid", 1, 5, as_of<6>},
    {"Split", 1, 1, split},
    {"Sqrt", 1, 5, as_of<6>},
    {"Sub", 1, 6, binary<sub>},
    {"Sum", 1, 7, as_of<8>},
    {"Tanh", 1, 5, as_of<6>},
    {"Xor", 1, 6, binary<logical_xor>},
};

}  // namespace

std::span<const Operator> legacy_operators() { return kOperators; }

}  // namespace ml::onnx
