// Losses.
#include "engine/formats/onnx/node.h"
#include "engine/graph/build_nn.h"

namespace ml::onnx {
namespace {

using Node = const NodeContext&;
using Results = std::vector<Var>;
constexpr int kAny = kLatestOpset;

// -log_probability[target] * weight[target] for log probabilities [N, C, ...] and targets [N, ...], reduced as the node
// says. Targets equal to ignore_index weigh nothing.
Var negative_log_likelihood(Node n, Var log_probability) {
  const Var targets = cast(n.in(1), DType::i64);
  const DType dtype = log_probability.dtype();
  const Var zero = scalar(n.graph, dtype, 0), one = scalar(n.graph, dtype, 1);
  Var safe = targets, counted;
  if (n.has_attribute("ignore_index")) {
    counted = ne(targets, static_cast<double>(n.integer("ignore_index", 0)));
    safe = select(counted, targets, scalar(n.graph, DType::i64, 0));
  }
  Var weight = n.has(2) ? gather(n.in(2), safe, 0) : one;
  if (counted) weight = select(counted, weight, zero);
  const Var picked = squeeze(gather_elements(log_probability, unsqueeze(safe, {1}), 1), {1});
  const Var loss = neg(picked * weight);
  const std::string reduction = n.text("reduction", "mean");
  if (reduction == "none") return loss;
  if (reduction == "sum") return reduce_sum(loss);
  if (reduction != "mean") n.invalid("reduction '" + reduction + "'");
  // Weights have the targets' shape once a vector of them or ignore_index spread them out; else the mean is plain.
  return weight.id == one.id ? reduce_mean(loss) : reduce_sum(loss) / reduce_sum(weight);
}

Results nll_loss(Node n) { return {negative_log_likelihood(n, n.in(0))}; }

Results softmax_cross_entropy_loss(Node n) {
  const Var log_probability = log_softmax(n.in(0), 1);
  return {negative_log_likelihood(n, log_probability), log_probability};
}

constexpr Operator kOperators[] = {
    {"NegativeLogLikelihoodLoss", 12, kAny, nll_loss},
    {"SoftmaxCrossEntropyLoss", 12, kAny, softmax_cross_entropy_loss},
};

}  // namespace

std::span<const Operator> loss_operators() { return kOperators; }

}  // namespace ml::onnx
