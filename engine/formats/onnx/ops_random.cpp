// Operators that draw random numbers. A graph is a pure function, so a seed, or where there is none the node's place in
// the model, says all that is drawn: every run of a model draws the same.
#include <cstring>

#include "engine/formats/onnx/extents.h"
#include "engine/graph/build_dynamic.h"
#include "engine/graph/build_nn.h"

namespace ml::onnx {
namespace {

using Node = const NodeContext&;
using Results = std::vector<Var>;
constexpr int kAny = kLatestOpset;

// The generator's state: a key and where to begin.
Var state(Node n) {
  std::uint64_t key = 0;
  if (n.has_attribute("seed") && n.op_type() == "Dropout") {
    key = static_cast<std::uint64_t>(n.integer("seed", 0));
  } else if (n.has_attribute("seed")) {
    const auto seed = static_cast<float>(n.number("seed", 0));
    std::memcpy(&key, &seed, sizeof seed);
  } else {
    // FNV-1a of the first output's name, and the nodes before this one for what is imported more than once.
    key = 0xcbf29ce484222325;
    for (const char c : n.output_name(0)) key = (key ^ static_cast<unsigned char>(c)) * 0x100000001b3;
    key = (key ^ n.graph.nodes().size()) * 0x100000001b3;
  }
  const std::uint64_t words[] = {key, 0};
  return constant(n.graph, make_constant(DType::u64, {2}, std::as_bytes(std::span(words))));
}

// The shape that is drawn, which has to be known.
Shape drawn(Node n, bool like) {
  if (like) {
    if (!n.in(0).shape().known())
      n.unsupported(n.op_type() + " of a shape " + n.in(0).shape().str() + " that is not known");
    return n.in(0).shape();
  }
  const Ints extents = n.ints("shape");
  for (const std::int64_t extent : extents) {
    if (extent < 0) n.invalid("an extent of " + std::to_string(extent));
  }
  return Shape(extents);
}

DType drawn_dtype(Node n, bool like) {
  const DType otherwise = like && is_floating(n.in(0).dtype()) ? n.in(0).dtype() : DType::f32;
  return n.dtype("dtype", otherwise);
}

template <bool like>
Results uniform(Node n) {
  const double low = n.number("low", 0), high = n.number("high", 1);
  return {random_uniform(state(n), drawn_dtype(n, like), drawn(n, like)).values * (high - low) + low};
}

template <bool like>
Results normal(Node n) {
  const Var values = random_normal(state(n), drawn_dtype(n, like), drawn(n, like)).values;
  return {values * n.number("scale", 1) + n.number("mean", 0)};
}

// 1 with the probability that x says.
Results bernoulli(Node n) {
  const Var x = n.in(0);
  const DType wide = dtype_info(x.dtype()).compute;
  const Var hit = lt(random_uniform(state(n), wide, drawn(n, true)).values, cast(x, wide));
  return {cast(hit, n.dtype("dtype", x.dtype()))};
}

// For each sample the number of classes whose probability, added up with those before, a fraction has passed.
Results multinomial(Node n) {
  const Var x = n.in(0);
  const std::int64_t samples = n.integer("sample_size", 1);
  if (x.rank() != 2 || x.shape()[1] == 0) n.invalid("[batch, classes] are needed, not " + x.shape().str());
  if (samples < 1) n.invalid("sample_size = " + std::to_string(samples));
  const Shape& shape = drawn(n, true);
  const DType wide = dtype_info(x.dtype()).compute;
  const Var passed = unsqueeze(cumsum(softmax(cast(x, wide), 1), 1), {1});
  const Var at = unsqueeze(random_uniform(state(n), wide, {shape[0], samples}).values, {2});
  const Var count = reduce_sum(cast(ge(at, passed), DType::i64), {2});
  // Rounded, the last sum may be less than 1.
  return {cast(minimum(count, static_cast<double>(shape[1] - 1)), n.dtype("dtype", DType::i32))};
}

// The ratio is an attribute before operator set 12 and an input since. Whether it trains is an attribute before 7 and
// an input since 12; in between it never did. The mask is of booleans since 10.
Results dropout_operator(Node n) {
  const Var x = n.in(0);
  const bool inputs = n.version() >= 12;
  Var trains = scalar(n.graph, DType::boolean, n.version() < 7 && n.integer("is_test", 0) == 0 ? 1 : 0);
  if (inputs && n.has(2)) trains = n.settled(reshape(cast(n.in(2), DType::boolean), Shape{}));
  Var ratio = scalar(n.graph, DType::f32, inputs ? 0.5 : n.number("ratio", 0.5));
  if (inputs && n.has(1)) ratio = n.settled(reshape(cast(n.in(1), DType::f32), Shape{}));
  const std::optional<double> rate = known(ratio), training = known(trains);
  if (rate && !(*rate >= 0 && *rate <= 1)) n.invalid("a ratio of " + std::to_string(*rate));

  const auto answer = [&](Var y, Var mask) { return Results{y, n.version() < 10 ? cast(mask, x.dtype()) : mask}; };
  if (training == 0.0 || rate == 0.0) {
    if (!n.wants_output(1)) return {x};
    return answer(x, filled(n, scalar(n.graph, DType::boolean, 1), shape_of(x)));
  }
  const Shape shape = drawn(n, true);
  if (rate && training) {
    const Dropout result = dropout(x, state(n), *rate);
    return answer(result.y, result.mask);
  }
  const Var keeps = ge(random_uniform(state(n), DType::f32, shape).values, ratio);
  const Var mask = logical_or(keeps, logical_not(trains));
  const Var scale = select(trains, 1.0 / (1.0 - ratio), scalar(n.graph, DType::f32, 1));
  return answer(select(mask, x * cast(scale, x.dtype()), scalar(n.graph, x.dtype(), 0)), mask);
}

constexpr Operator kOperators[] = {
    {"Bernoulli", 15, kAny, bernoulli},
    {"Dropout", 1, kAny, dropout_operator},
    {"Multinomial", 7, kAny, multinomial},
    {"RandomNormal", 1, kAny, normal<false>},
    {"RandomNormalLike", 1, kAny, normal<true>},
    {"RandomUniform", 1, kAny, uniform<false>},
    {"RandomUniformLike", 1, kAny, uniform<true>},
};

}  // namespace

std::span<const Operator> random_operators() { return kOperators; }

}  // namespace ml::onnx
