#include "engine/graph/build_control.h"
#include "engine/graph/build_nn.h"
#include "tests/matrix/control.h"
#include "tests/matrix/sample.h"

namespace ml::test {
namespace {

using Vars = std::vector<Var>;
using Given = std::span<const Var>;

const TensorType kNumber{DType::f32, {}};
const TensorType kCount{DType::i64, {}};
const TensorType kRow{DType::f32, {5}};
const TensorType kRows{DType::f32, {4, 5}};
const TensorType kNoRows{DType::f32, {0, 5}};
const TensorType kLargeRows{DType::f32, {3, 70001}};

Var row(Var rows, std::int64_t i) { return squeeze(slice(rows, {i, 0}, {i + 1, rows.shape()[1]}), {0}); }
Var stacked(const Vars& rows) {
  Vars wide;
  for (const Var& r : rows) wide.push_back(unsqueeze(r, {0}));
  return concat(wide, 0);
}

ControlCase called(const char* label, const TensorType& type) {
  const auto twice = [](Given x) -> Vars { return {x[0] + x[1], x[0] * x[1]}; };
  return {"call",
          label,
          {type, type},
          [=](Given x) {
            const TensorType types[] = {type, type};
            const Vars inner = call(body(types, twice), x);
            return call(body(types, twice), inner);
          },
          [=](Given x) { return twice(twice(x)); }};
}

ControlCase branched(const char* label, double threshold) {
  // One branch nests another, the outputs of both pass an input through.
  return {"if",
          label,
          {kNumber, kRow},
          [=](Given x) {
            const TensorType types[] = {kNumber, kRow};
            const auto negated = [](Given y) -> Vars { return {neg(y[1]), y[0]}; };
            const auto nested = [&](Given y) -> Vars {
              return if_else(gt(y[0], 100.0), body(types, negated),
                             body(types,
                                  [](Given z) -> Vars {
                                    return {z[1] * z[0], z[0] + 1.0};
                                  }),
                             y);
            };
            return if_else(gt(x[0], threshold), body(types, nested), body(types, negated), x);
          },
          [=](Given x) -> Vars {
            const Var taken = gt(x[0], threshold);
            return {select(taken, x[1] * x[0], neg(x[1])), select(taken, x[0] + 1.0, x[0])};
          }};
}

// Doubles until the count has reached a captured limit, from 0; `turns` is what that limit is.
ControlCase looped(const char* label, std::int64_t turns, const TensorType& type) {
  return {"while",
          label,
          {type},
          [=](Given x) {
            const Var zero = scalar(*x[0].graph, DType::i64, 0);
            const Var limit = scalar(*x[0].graph, DType::i64, static_cast<double>(turns));
            const TensorType types[] = {kCount, type, kCount};
            const Var carried[] = {zero, x[0]};
            return while_loop(body(types, [](Given y) -> Vars { return {lt(y[0], y[2])}; }),
                              body(types,
                                   [](Given y) -> Vars {
                                     return {y[0] + 1.0, y[1] + y[1]};
                                   }),
                              carried, std::span(&limit, 1));
          },
          [=](Given x) -> Vars {
            Var value = x[0];
            for (std::int64_t i = 0; i < turns; ++i) value = value + value;
            return {scalar(*x[0].graph, DType::i64, static_cast<double>(turns)), value};
          }};
}

// The carried values change places: every turn reads both before it writes either.
ControlCase swapped() {
  return {"while",
          "carried values change places",
          {kRow, kRow},
          [](Given x) {
            const Var zero = scalar(*x[0].graph, DType::i64, 0);
            const TensorType types[] = {kCount, kRow, kRow};
            const Var carried[] = {zero, x[0], x[1]};
            return while_loop(body(types, [](Given y) -> Vars { return {lt(y[0], 3.0)}; }),
                              body(types,
                                   [](Given y) -> Vars {
                                     return {y[0] + 1.0, y[2], y[1]};
                                   }),
                              carried);
          },
          [](Given x) -> Vars {
            return {scalar(*x[0].graph, DType::i64, 3), x[1], x[0]};
          }};
}

// carry' = carry * c + row, and out goes carry' - row.
ControlCase scanned(const char* label, const TensorType& rows, bool reverse) {
  const TensorType each{rows.dtype, {rows.shape[1]}};
  const auto turn = [](Given x) -> Vars {
    const Var carry = x[0] * x[2] + x[1];
    return {carry, carry - x[1]};
  };
  return {"scan",
          label,
          {each, rows, kNumber},
          [=](Given x) {
            const TensorType types[] = {each, each, kNumber};
            return scan(body(types, turn), x.first(1), x.subspan(1, 1), x.subspan(2), {.reverse = reverse});
          },
          [=](Given x) -> Vars {
            const std::int64_t length = rows.shape[0];
            if (length == 0) return {x[0], x[1]};
            Vars out(static_cast<std::size_t>(length));
            Var carry = x[0];
            for (std::int64_t i = 0; i < length; ++i) {
              const std::int64_t at = reverse ? length - 1 - i : i;
              const Var operands[] = {carry, row(x[1], at), x[2]};
              const Vars results = turn(operands);
              carry = results[0];
              out[static_cast<std::size_t>(at)] = results[1];
            }
            return {carry, stacked(out)};
          }};
}

// Nothing is scanned: the turns are counted.
ControlCase counted() {
  return {"scan",
          "a number of turns",
          {kRow},
          [](Given x) {
            const TensorType types[] = {kRow};
            return scan(body(types, [](Given y) -> Vars { return {y[0] * 0.5, y[0]}; }), x, {}, {}, {.length = 3});
          },
          [](Given x) -> Vars {
            const Var half = x[0] * 0.5, quarter = half * 0.5;
            return {quarter * 0.5, stacked({x[0], half, quarter})};
          }};
}

}  // namespace

GraphPtr body(std::span<const TensorType> inputs, const std::function<Vars(Given)>& build) {
  auto graph = std::make_shared<Graph>();
  Vars values;
  for (std::size_t i = 0; i < inputs.size(); ++i)
    values.push_back(input(*graph, "x" + std::to_string(i), inputs[i].dtype, inputs[i].shape));
  const Vars results = build(values);
  for (std::size_t i = 0; i < results.size(); ++i) output("y" + std::to_string(i), results[i]);
  return graph;
}

std::vector<ControlCase> control_cases() {
  return {
      called("twice", kRow),
      called("on nothing", kNoRows),
      called("on much", kLargeRows),
      branched("taken", -1000),
      branched("not taken", 1000),
      looped("no turn", 0, kRow),
      looped("turns", 7, kRow),
      looped("turns over nothing", 2, kNoRows),
      looped("turns over much", 3, kLargeRows),
      swapped(),
      scanned("forwards", kRows, false),
      scanned("backwards", kRows, true),
      scanned("no turn", kNoRows, false),
      scanned("over much", kLargeRows, false),
      counted(),
  };
}

std::vector<OpSamples> fused_samples() {
  const auto fusing = [](const std::vector<Shape>& shapes, const std::function<Vars(Given)>& build) {
    return [=](DType dtype) -> AttributesPtr {
      std::vector<TensorType> types;
      types.reserve(shapes.size());
      for (const Shape& shape : shapes) types.push_back({dtype, shape});
      auto attributes = std::make_shared<BodyAttributes>();
      attributes->body = body(types, build);
      return attributes;
    };
  };
  const auto chain = [](Given x) -> Vars { return {maximum(x[0] * x[1] + x[0], x[1])}; };
  const auto two_results = [](Given x) -> Vars {
    const Var sum = x[0] + x[1];
    return {sum, lt(sum, x[0])};
  };
  const auto summed = [](Given x) -> Vars { return {reduce_sum(x[0] * x[1], {-1})}; };
  const auto columns = [](Given x) -> Vars { return {reduce_max(x[0] - x[1], {0}, true)}; };
  const auto sample = [&](const char* label, const Shape& a, const Shape& b, const std::function<Vars(Given)>& build) {
    return Sample{label, {{a, Fill::exact}, {b, Fill::exact}}, fusing({a, b}, build)};
  };
  // Constant weights make it a kernel, and the matrix makes each input a constant in turn.
  const auto contraction = [&](const char* label, const std::vector<Shape>& shapes,
                               const std::function<Vars(Given)>& build) {
    Sample made{label, {}, fusing(shapes, build)};
    for (const Shape& shape : shapes) made.inputs.push_back({shape, Fill::exact});
    return made;
  };
  const auto convolved = [](Given x) {
    return convolution(x[0], x[1], Var{}, {{1, 1}, {1, 1}, {1, 1}, {1, 1}}, x[0].shape()[1] / x[1].shape()[1]);
  };
  const auto product = [](Given x) -> Vars { return {relu(matmul(x[0], x[1]) + x[2])}; };
  const auto ended = [convolved](Given x) -> Vars { return {minimum(convolved(x) + x[2], x[3])}; };
  const auto limited = [convolved](Given x) -> Vars { return {relu(convolved(x) + x[2] + x[3])}; };
  std::vector<OpSamples> all{{"fused",
                              {sample("scalars", kScalar, kScalar, chain), sample("empty", kEmpty, kEmpty, chain),
                               sample("odd", kOdd, kOdd, chain), sample("repeated", kOdd, {5, 1}, chain),
                               sample("two results", kOdd, {7}, two_results), sample("sum", kOdd, kOdd, summed),
                               sample("sum of nothing", kEmpty, kEmpty, summed), sample("columns", kOdd, kOdd, columns),
                               sample("large", kLarge, kLarge, chain), sample("large rows", kLarge, {263}, summed),
                               sample("large columns", kLarge, {257, 1}, columns)}}};
  all.push_back(
      {"fused_contraction",
       {contraction("a product", {{3, 5}, {5, 7}, {7}}, product),
        contraction("a large product", {{33, 70}, {70, 130}, {130}}, product),
        contraction("products", {{2, 3, 5}, {5, 7}, {1, 7}}, product),
        contraction("no rows", {{0, 5}, {5, 7}, {7}}, product),
        contraction("a convolution", {{2, 3, 5, 6}, {4, 3, 3, 3}, {4, 1, 1}, {2, 4, 5, 6}}, limited),
        contraction("a convolution and more", {{1, 3, 5, 6}, {4, 3, 3, 3}, {1, 4, 5, 6}, {1, 4, 5, 6}}, ended),
        contraction("each channel by itself", {{1, 8, 5, 6}, {8, 1, 3, 3}, {8, 1, 1}, {1, 8, 5, 6}}, limited)}});
  const auto twice = [](Given x) -> Vars {
    const Var between = convolution(x[0], x[1], Var{}, Windows::unit(2));
    return {convolution(between, x[2], Var{}, {{2, 2}, {1, 1}, {1, 1}, {1, 1}}, x[1].shape()[0])};
  };
  const auto twice_with_ends = [](Given x) -> Vars {
    const auto end = [](Var image, Var weights, Var bias) {
      const Vars operands{image, weights, bias};
      std::vector<TensorType> types;
      for (const Var& operand : operands) types.push_back(operand.type());
      const auto ended_by_bias = [](Given y) -> Vars {
        return {relu(convolution(y[0], y[1], Var{}, Windows::unit(2)) + y[2])};
      };
      return fused_contraction(body(types, ended_by_bias), operands);
    };
    return {end(end(x[0], x[1], x[2]), x[3], x[4])};
  };
  all.push_back(
      {"fused_convolutions",
       {contraction("each channel by itself", {{2, 3, 5, 6}, {4, 3, 1, 1}, {4, 1, 3, 3}}, twice),
        contraction("no images", {{0, 3, 5, 6}, {4, 3, 1, 1}, {4, 1, 3, 3}}, twice),
        contraction("large", {{1, 4, 66, 65}, {32, 4, 1, 1}, {32, 1, 3, 3}}, twice),
        contraction("with ends", {{1, 3, 5, 6}, {4, 3, 1, 1}, {4, 1, 1}, {2, 4, 3, 2}, {2, 1, 1}}, twice_with_ends)}});
  return all;
}

}  // namespace ml::test
