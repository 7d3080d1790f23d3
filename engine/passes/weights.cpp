// Constants that follow a convolution or a product, folded into its weights: the batch norm behind it, a factor for
// each of its channels, and (of a convolution, which has a bias) what is added to each.
//
// It runs once, when a graph is loaded, so that binding a shape finds the weights made and packed. The new weights are
// rounded once, so they differ from what the separate steps gave by less than a sum in another order. 16-bit ones would
// lose half of their last place to that and stay as they are.
#include <cmath>
#include <set>
#include <string>

#include "engine/graph/build_nn.h"
#include "engine/graph/ops/convolution.h"
#include "engine/graph/ops/matmul.h"
#include "engine/graph/ops/norm.h"
#include "engine/graph/scalar.h"
#include "engine/passes/passes.h"
#include "engine/passes/patterns.h"
#include "engine/passes/walk.h"

namespace ml::passes {
namespace {

using Numbers = std::vector<double>;

// A number for each of `channels`, which are dimension `axis` of a value of that shape: from a constant with one
// element or one for each channel and no other extent.
std::optional<Numbers> per_channel(const Graph& graph, ValueId value, int axis, int rank, std::int64_t channels) {
  const ConstantData* constant = graph.constant(value);
  if (constant == nullptr || !is_floating(constant->dtype)) return std::nullopt;
  const std::int64_t elements = constant->shape.elements();
  if (elements != 1) {
    const int at = axis - (rank - constant->shape.rank());
    if (elements != channels || at < 0 || constant->shape[at] != channels) return std::nullopt;
  }
  if (constant->shape.rank() > rank) return std::nullopt;
  Numbers numbers(static_cast<std::size_t>(channels));
  for (std::size_t i = 0; i < numbers.size(); ++i)
    numbers[i] = element_as_double(*constant, elements == 1 ? 0 : static_cast<std::int64_t>(i));
  return numbers;
}

// y * factor + term for each channel.
struct Affine {
  Numbers factor, term;  // empty: 1 or 0 everywhere
};

bool all_finite(const Numbers& numbers) {
  for (const double number : numbers) {
    if (!std::isfinite(number)) return false;
  }
  return true;
}

// The constant times factor[channel], where the channel of element i is i / inner % channels. Most are only ever
// packed, so the product is not made here.
ConstantPtr scaled(const ConstantData& weights, const Numbers& factor, std::int64_t inner) {
  return std::make_shared<const ConstantData>(
      ConstantData{weights.dtype, weights.shape, Blob::of_scaled({weights, factor, inner}), 0});
}

class Weights {
 public:
  explicit Weights(const Graph& graph) {
    // Constants may share their bytes; what is made of them may not become much more than they are.
    std::set<std::string> seen;
    for (const Node& node : graph.nodes()) {
      if (node.op->kind != OpKind::constant) continue;
      const Blob& blob = *node.as<ConstantAttributes>().value->blob;
      if (seen.insert(blob.identity()).second) budget_ += blob.size();
    }
  }

  std::vector<Var> operator()(const Visit& v) {
    const bool commutes = v.is("mul") || v.is("add");
    if (!commutes && !v.is("sub") && !v.is("div") && !v.is("batch_norm_inference")) return {};
    for (const std::size_t i : {0, 1}) {
      if (i == 1 && !commutes) break;
      const Node* product = v.alone_reads(i) ? v.graph().producer(v.inputs[i].id) : nullptr;
      if (product == nullptr) continue;
      Var result;
      if (product->op->name == "add") result = behind_sum(v, i, *product);
      if (product->op->name == "convolution") result = behind_convolution(v, i, *product);
      if (product->op->name == "matmul") result = behind_matmul(v, i, *product);
      if (result) return {result};
    }
    return {};
  }

 private:
  // What the node does to each of the channels of its input i, if that is all it does.
  static std::optional<Affine> affine(const Visit& v, std::size_t i, int axis, std::int64_t channels) {
    const int rank = v.inputs[i].rank();
    if (channels == kUnknown || v.inputs[i].type() != v.from.type(v.node.first_output)) return std::nullopt;
    const auto constant = [&](std::size_t k) { return per_channel(v.graph(), v.inputs[k].id, axis, rank, channels); };
    Affine result;
    if (v.is("batch_norm_inference")) {
      if (axis != 1) return std::nullopt;
      const auto statistic = [&](std::size_t k) { return per_channel(v.graph(), v.inputs[k].id, 0, 1, channels); };
      const std::optional<Numbers> mean = statistic(1), variance = statistic(2);
      if (!mean || !variance) return std::nullopt;
      for (const double number : *variance)
        result.factor.push_back(1 / std::sqrt(number + v.as<BatchNormAttributes>().epsilon));
      if (v.inputs.size() > 3) {
        const std::optional<Numbers> scale = statistic(3);
        if (!scale) return std::nullopt;
        for (std::size_t k = 0; k < scale->size(); ++k) result.factor[k] *= (*scale)[k];
      }
      for (std::size_t k = 0; k < mean->size(); ++k) result.term.push_back(-(*mean)[k] * result.factor[k]);
      if (v.inputs.size() > 4) {
        const std::optional<Numbers> bias = statistic(4);
        if (!bias) return std::nullopt;
        for (std::size_t k = 0; k < bias->size(); ++k) result.term[k] += (*bias)[k];
      }
    } else {
      std::optional<Numbers> numbers = constant(1 - i);
      if (!numbers) return std::nullopt;
      if (v.is("sub")) {
        for (double& number : *numbers) number = -number;
      }
      if (v.is("div")) {
        for (double& number : *numbers) number = 1 / number;
      }
      (v.is("mul") || v.is("div") ? result.factor : result.term) = std::move(*numbers);
    }
    return all_finite(result.factor) && all_finite(result.term) ? std::optional(std::move(result)) : std::nullopt;
  }

  Var behind_convolution(const Visit& v, std::size_t i, const Node& node) {
    const Var y = v.inputs[i], x = operand(y, node, 0), w = operand(y, node, 1);
    const std::int64_t channels = w.shape()[0];
    if (channels == kUnknown || !foldable(v.graph(), w)) return {};
    const auto attributes = node.as<ConvolutionAttributes>();
    const std::optional<Affine> after = affine(v, i, 1, channels);
    if (!after) return {};
    Numbers bias(static_cast<std::size_t>(channels), 0);
    if (node.inputs.size() == 3) {
      const std::optional<Numbers> given = per_channel(v.graph(), node.inputs[2], 0, 1, channels);
      if (!given) return {};
      bias = *given;
    }
    for (std::size_t k = 0; k < bias.size(); ++k) {
      if (!after->factor.empty()) bias[k] *= after->factor[k];
      if (!after->term.empty()) bias[k] += after->term[k];
    }
    if (!all_finite(bias)) return {};
    const bool had_bias = node.inputs.size() == 3;
    Var weights = w;
    if (!after->factor.empty()) {
      weights = times(v.graph(), w, after->factor, w.shape().elements() / std::max<std::int64_t>(channels, 1));
      if (!weights) return {};
    }
    const Var term = had_bias || !after->term.empty() ? vector(v.graph(), x.dtype(), bias) : Var{};
    return convolution(x, weights, term, attributes.windows, attributes.groups);
  }

  Var behind_matmul(const Visit& v, std::size_t i, const Node& node) {
    const Var y = v.inputs[i];
    const std::optional<Affine> after = affine(v, i, y.rank() - 1, y.shape().at(-1));
    if (!after || after->factor.empty()) return {};
    const Var product = scaled_matmul(y, node, after->factor);
    return product && !after->term.empty() ? product + vector(v.graph(), y.dtype(), after->term) : product;
  }

  // A product has no bias: what is added to it is scaled beside its weights.
  Var behind_sum(const Visit& v, std::size_t i, const Node& sum) {
    const Var y = v.inputs[i], inside = operand(y, sum, 0);
    const Node* node = made_by(inside, "matmul");
    const Node* before = made_by(v.from, v.node.inputs[i], "add");  // as it was, which tells who reads its operand
    if (node == nullptr || before == nullptr || v.uses[before->inputs[0]] != 1 || inside.type() != y.type()) return {};
    const std::int64_t columns = y.shape().at(-1);
    if (columns == kUnknown) return {};
    std::optional<Numbers> bias = per_channel(v.graph(), sum.inputs[1], y.rank() - 1, y.rank(), columns);
    const std::optional<Affine> after = affine(v, i, y.rank() - 1, columns);
    if (!bias || !after) return {};
    for (std::size_t k = 0; k < bias->size(); ++k) {
      if (!after->factor.empty()) (*bias)[k] *= after->factor[k];
      if (!after->term.empty()) (*bias)[k] += after->term[k];
    }
    if (!all_finite(*bias)) return {};
    const Var product = after->factor.empty() ? inside : scaled_matmul(inside, *node, after->factor);
    return product ? product + vector(v.graph(), y.dtype(), *bias) : Var{};
  }

  // `node`, which makes y, with a factor for each of its columns.
  Var scaled_matmul(Var y, const Node& node, const Numbers& factor) {
    const Var a = operand(y, node, 0), b = operand(y, node, 1);
    const auto attributes = node.as<MatmulAttributes>();
    if (b.rank() != 2 || !foldable(*y.graph, b)) return {};
    const Var weights = times(*y.graph, b, factor, attributes.transpose_b ? b.shape()[1] : 1);
    return weights ? matmul(a, weights, attributes.transpose_a, attributes.transpose_b) : Var{};
  }

  static bool foldable(const Graph& graph, Var weights) {
    return graph.constant(weights.id) != nullptr && (weights.dtype() == DType::f32 || weights.dtype() == DType::f64);
  }

  Var times(Graph& graph, Var weights, const Numbers& factor, std::int64_t inner) {
    const ConstantData& given = *graph.constant(weights.id);
    if (given.length() > budget_ || inner == 0) return {};
    budget_ -= given.length();
    return constant(graph, scaled(given, factor, inner));
  }

  static Var vector(Graph& graph, DType dtype, const Numbers& numbers) {
    std::vector<std::byte> bytes(numbers.size() * dtype_size(dtype));
    for (std::size_t i = 0; i < numbers.size(); ++i) store_double(dtype, &bytes[i * dtype_size(dtype)], numbers[i]);
    return constant(graph, make_constant(dtype, {static_cast<std::int64_t>(numbers.size())}, bytes));
  }

  std::uint64_t budget_ = 0;  // bytes
};

}  // namespace

Graph fold_into_weights(const Graph& graph) { return walk(graph, Weights(graph)); }

}  // namespace ml::passes
