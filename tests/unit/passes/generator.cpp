#include "tests/unit/passes/generator.h"

#include <cmath>
#include <limits>
#include <numbers>
#include <string>

#include "engine/graph/scalar.h"

namespace ml::test {
namespace {

constexpr std::int64_t kWidth = 4, kTokens = 3, kSide = 5, kHeads = 2;
// Large enough that what a norm divides by doesn't make differences of roundings large.
constexpr double kEpsilon = 0.25;

}  // namespace

Generator::Generator(std::uint64_t seed, DType dtype, bool symbolic)
    : random_(seed), dtype_(dtype), batch_(symbolic ? kUnknown : kBatch) {}

Graph Generator::run() {
  for (const char* name : {"a", "b", "c"}) rows_.push_back(input(name, {kWidth}));
  tokens_.push_back(input("t", {kTokens, kWidth}));
  images_.push_back(input("i", {kWidth, kSide, kSide}));
  const int count = 5 + pick(20);
  for (int i = 0; i < count; ++i) {
    switch (pick(4)) {
      case 0: tokens_.push_back(next_tokens()); break;
      case 1: images_.push_back(next_image()); break;
      default: rows_.push_back(next_row()); break;
    }
  }
  const int outputs = 1 + pick(3);
  const auto late = [this](const std::vector<Var>& values) {
    return values[values.size() - 1 - static_cast<std::size_t>(pick(std::min(3, static_cast<int>(values.size()))))];
  };
  for (int i = 0; i < outputs; ++i) {
    const int kind = pick(4);
    output("y" + std::to_string(i), late(kind == 0 ? tokens_ : kind == 1 ? images_ : rows_));
  }
  if (pick(2) == 0) {  // state in and out
    output("state", row() * 0.5 + rows_[0]);
    graph_.donate(0, static_cast<std::uint32_t>(graph_.outputs().size() - 1));
  }
  return std::move(graph_);
}

Var Generator::input(const char* name, const Shape& without_batch) {
  Shape shape{batch_};
  for (const std::int64_t extent : without_batch) shape.append(extent);
  std::vector<std::string> symbols;
  if (batch_ == kUnknown) symbols.assign(static_cast<std::size_t>(shape.rank()), "");
  if (batch_ == kUnknown) symbols[0] = "n";
  return {&graph_, graph_.add_input(name, {dtype_, shape}, std::move(symbols))};
}

Var Generator::number(double value) {
  return pick(4) == 0 ? constant(graph_, make_splat(dtype_, {1}, value)) : scalar(graph_, dtype_, value);
}

Var Generator::random_constant(const Shape& shape, double low, double high) {
  const std::size_t size = dtype_size(dtype_);
  std::vector<std::byte> bytes(static_cast<std::size_t>(shape.elements()) * size);
  for (std::size_t at = 0; at < bytes.size(); at += size)
    store_double(dtype_, &bytes[at], low + (high - low) * 0x1p-64 * static_cast<double>(random_()));
  return constant(graph_, make_constant(dtype_, shape, bytes));
}

Var Generator::next_row() {
  switch (pick(9)) {
    case 0: return activation(row());
    case 1: return normalized(row());
    case 2: return softmaxed(row(), pick(2), true);
    case 3: return activation(linear(row(), kWidth));
    case 4: return reduce_mean(tokens(), {1});
    case 5: return reduce_mean(image(), {2, 3});
    case 6: return moved(row());
    default: return arithmetic();
  }
}

Var Generator::next_tokens() {
  switch (pick(6)) {
    case 0: return tokens() + attention(tokens());
    case 1: return normalized(tokens() + attention(tokens()));
    case 2: return linear(activation(linear(tokens(), 6)), kWidth) + tokens();
    case 3: return normalized(tokens());
    case 4: return tokens() * unsqueeze(row(), {1});
    default: return activation(tokens());
  }
}

Var Generator::next_image() {
  switch (pick(5)) {
    case 0: return activation(convolved(image()) + image());
    case 1: {  // squeeze and excite
      const Var x = image();
      const Var gate = reduce_mean(x, {2, 3}, true);
      const Var w = random_constant({kWidth, kWidth, 1, 1}, -1, 1);
      return x * sigmoid(convolution(gate, w, random_constant({kWidth}, -1, 1), Windows::unit(2)));
    }
    case 2: return max_pool(image(), {3, 3}, {{1, 1}, {1, 1}, {1, 1}, {1, 1}});
    case 3: return image() + unsqueeze(row(), {2, 3});
    default: return activation(convolved(image()));
  }
}

Var Generator::arithmetic() {
  switch (pick(14)) {
    case 0: return row() + row();
    case 1: return tanh(row() * row());
    case 2: return maximum(row(), row());
    case 3: return select(gt(row(), row()), row(), row());
    case 4: return reduce_sum(row(), {pick(2)}, true) * 0.25 + row();
    case 5: return reduce_max(row(), {1}, true) - row();
    case 6: return row() + std::sin(static_cast<double>(pick(10)));
    case 7: return tanh(scalar(graph_, dtype_, pick(3)) + scalar(graph_, dtype_, 1)) * row();
    case 8: return neg(neg(row())) * 1.0 / 4.0;
    case 9: return pow(tanh(row()), 2.0 + pick(2));
    case 10: return row() - neg(row());
    case 11: return cast(cast(row(), DType::f64), dtype_);
    case 12: return row() / (abs(row()) + 1.0);
    default: return 1.0 / sqrt(row() * 0.0 + 2.0) * row();
  }
}

// Elements on detours.
Var Generator::moved(Var x) {
  switch (pick(6)) {
    case 0: return transpose(transpose(x, {1, 0}), {1, 0});
    case 1: {
      const std::int64_t axis = pick(3);
      return squeeze(unsqueeze(x, {axis}), {axis});
    }
    case 2: {
      const Var parts[] = {x, row()};
      const Var both = concat(parts, 1);
      const std::int64_t from = pick(3) * 2, end = std::numeric_limits<std::int64_t>::max();
      return slice(slice(both, {0, from}, {end, end}), {0, 0}, {end, kWidth});
    }
    case 3: return reverse(reverse(x, {1}), {1}) + row();
    case 4: {
      const std::int64_t end = std::numeric_limits<std::int64_t>::max();
      const Var parts[] = {slice(x, {0, 0}, {end, 2}), slice(x, {0, 2}, {end, kWidth})};
      return concat(parts, 1);
    }
    default: return matmul(x, transpose(random_constant({kWidth, kWidth}, -0.5, 0.5), {1, 0}));
  }
}

Var Generator::activation(Var x) {
  switch (pick(14)) {
    case 0: return relu(x);
    case 1: return maximum(x, number(0));
    case 2: return clamp(x, 0, 6);
    case 3: return silu(x);
    case 4: return x * sigmoid(x);
    case 5: return x / (number(1) + exp(neg(x)));
    case 6: return x * clamp(x / 6.0 + 0.5, 0, 1);
    case 7: return x * clamp(x + 3.0, 0, 6) / 6.0;
    case 8: return gelu(x, pick(2) == 0);
    case 9: return x * number(0.5) * (erf(x / number(std::numbers::sqrt2)) + number(1));
    case 10: {
      const Var inner = (x + pow(x, 3.0) * 0.044715) * std::sqrt(2 * std::numbers::inv_pi);
      return x * 0.5 * (tanh(inner) + 1.0);
    }
    case 11: return sigmoid(x);
    case 12: return tanh(x);
    default: return x;
  }
}

Var Generator::normalized(Var x) {
  const Var scale = random_constant({kWidth}, 0.5, 1.5), bias = random_constant({kWidth}, -1, 1);
  if (pick(4) == 0) return layer_norm(x, scale, bias, -1, kEpsilon).y;
  const Var mean = reduce_mean(x, {-1}, true);
  const Var d = x - mean;
  const Var variance = reduce_mean(pick(2) == 0 ? pow(d, 2.0) : d * d, {-1}, true) + kEpsilon;
  switch (pick(4)) {
    case 0: return d / sqrt(variance) * scale + bias;
    case 1: return scale * (d * (1.0 / sqrt(variance))) + bias;
    case 2: {
      const Var m = rsqrt(variance) * scale;
      return x * m + (bias - mean * m);
    }
    default: return d / sqrt(variance);
  }
}

Var Generator::softmaxed(Var x, std::int64_t axis, bool or_logarithm) {
  if (pick(3) == 0) return softmax(x, axis);
  const Var c = x - reduce_max(x, {axis}, true);
  const Var e = exp(c);
  switch (pick(or_logarithm ? 3 : 2)) {
    case 0: return e / reduce_sum(e, {axis}, true);
    case 1: return e * reciprocal(reduce_sum(e, {axis}, true));
    default: return c - log(reduce_sum(e, {axis}, true));
  }
}

Var Generator::linear(Var x, std::int64_t columns) {
  const std::int64_t depth = x.shape().at(-1);
  const bool transposed = pick(3) == 0;
  const Var w = random_constant(transposed ? Shape{columns, depth} : Shape{depth, columns}, -0.5, 0.5);
  Var y = matmul(x, w, false, transposed);
  if (pick(4) != 0) y = y + random_constant({columns}, -1, 1);
  if (pick(4) == 0) y = y * random_constant({columns}, 0.5, 1.5);
  return y;
}

Var Generator::attention(Var x) {
  const std::int64_t width = kWidth / kHeads;
  const auto heads = [&](Var y, const Ints& order) {
    return transpose(reshape(linear(y, kWidth), {kUnknown, kTokens, kHeads, width}), order);
  };
  const Var q = heads(x, {0, 2, 1, 3}), v = heads(tokens(), {0, 2, 1, 3});
  const Var k = pick(2) == 0 ? transpose(heads(x, {0, 2, 1, 3}), {0, 1, 3, 2}) : heads(x, {0, 2, 3, 1});
  const double root = std::sqrt(static_cast<double>(width));
  Var scores;
  switch (pick(3)) {
    case 0: scores = matmul(q, k) / root; break;
    case 1: scores = matmul(q * (1 / std::sqrt(root)), k * (1 / std::sqrt(root))); break;
    default: scores = matmul(q, k) * number(1 / root); break;
  }
  switch (pick(3)) {
    case 0: scores = scores + random_constant({1, 1, kTokens, kTokens}, -2, 0); break;
    case 1: {
      const Var seen = ge(iota(graph_, DType::i64, {kTokens, 1}, 0), iota(graph_, DType::i64, {1, kTokens}, 1));
      scores =
          select(seen, scores,
                 scalar(graph_, dtype_,
                        pick(2) == 0 ? -std::numeric_limits<float>::max() : -std::numeric_limits<double>::infinity()));
      break;
    }
    default: break;
  }
  const Var y = matmul(softmaxed(scores, 3, false), v);
  return linear(reshape(transpose(y, {0, 2, 1, 3}), {kUnknown, kTokens, kWidth}), kWidth);
}

Var Generator::convolved(Var x) {
  const bool by_channel = pick(3) == 0;
  const std::int64_t kernel = pick(2) == 0 ? 1 : 3, padding = kernel / 2;
  const Var w = random_constant({kWidth, by_channel ? 1 : kWidth, kernel, kernel}, -0.5, 0.5);
  const bool before = padding != 0 && pick(3) == 0;  // as a node of its own
  if (before) x = pad(x, {0, 0, padding, padding}, {0, 0, padding, padding});
  const Ints pads(2, before ? 0 : padding);
  Var y = convolution(x, w, pick(2) == 0 ? random_constant({kWidth}, -1, 1) : Var{}, {{1, 1}, pads, pads, {1, 1}},
                      by_channel ? kWidth : 1);
  switch (pick(4)) {
    case 0:
      y = batch_norm_inference(y, random_constant({kWidth}, -1, 1), random_constant({kWidth}, 0.5, 2),
                               random_constant({kWidth}, 0.5, 1.5), random_constant({kWidth}, -1, 1));
      break;
    case 1: y = y * random_constant({kWidth, 1, 1}, 0.5, 1.5) + random_constant({1, kWidth, 1, 1}, -1, 1); break;
    case 2: y = y - random_constant({kWidth, 1, 1}, -1, 1); break;
    default: break;
  }
  return y;
}

}  // namespace ml::test
