// ai.onnx.preview.training: gradients by this project's own differentiation, and steps of optimizers.
#include <functional>
#include <unordered_map>

#include "engine/formats/onnx/extents.h"
#include "engine/graph/autodiff.h"

namespace ml::onnx {
namespace {

using Node = const NodeContext&;
using Results = std::vector<Var>;
constexpr int kAny = kLatestOpset;
constexpr const char* kDomain = "ai.onnx.preview.training";

// What `y` is when `from` have the values `to`: the nodes between them once more.
Var computed_from(Node n, Var y, std::span<const Var> from, std::span<const Var> to) {
  std::unordered_map<ValueId, ValueId> replaced;
  for (std::size_t i = 0; i < from.size(); ++i) {
    if (from[i].id != to[i].id) replaced[from[i].id] = to[i].id;
  }
  if (replaced.empty()) return y;
  const std::size_t count = n.graph.nodes().size();
  for (std::size_t i = 0; i < count; ++i) {
    const ml::Node node = n.graph.nodes()[i];
    std::vector<ValueId> inputs;
    bool changed = false;
    for (const ValueId input : node.inputs) {
      const auto found = replaced.find(input);
      changed = changed || found != replaced.end();
      inputs.push_back(found == replaced.end() ? input : found->second);
    }
    if (!changed) continue;
    const ValueId first = n.graph.add(*node.op, node.attributes, inputs);
    for (std::uint32_t k = 0; k < node.output_count; ++k) replaced.try_emplace(node.output(k), first + k);
  }
  const auto found = replaced.find(y.id);
  return found == replaced.end() ? y : Var{&n.graph, found->second};
}

// Of the sum of the elements of y, a value of the graph, by those that xs names, where these have the values of the
// node's inputs.
Results gradient(Node n) {
  std::vector<Var> from, to;
  const std::size_t count = n.texts("xs").size();
  for (const char* list : {"xs", "zs"}) {
    for (const std::string& name : n.texts(list)) {
      from.push_back(n.named(name));
      to.push_back(n.in(to.size()));
    }
  }
  const Var y = computed_from(n, n.named(n.text("y", "")), from, to);
  return gradients(std::array{y}, std::array{full(n.graph, y.dtype(), y.shape(), 1)}, std::span(to).first(count));
}

// Inputs are a rate, a count, and then tensors of each kind behind each other; so are the outputs of a step.
using Step = std::function<Results(std::span<const Var> tensors)>;
Results stepped(Node n, std::size_t kinds, const Step& step) {
  const std::size_t tensors = n.input_count() < 2 ? 0 : n.input_count() - 2, count = tensors / kinds;
  if (count == 0 || tensors % kinds != 0)
    n.invalid(std::to_string(tensors) + " tensors, " + std::to_string(kinds) + " for each parameter are needed");
  std::vector<Results> updated;
  for (std::size_t i = 0; i < count; ++i) {
    Results own;
    for (std::size_t kind = 0; kind < kinds; ++kind) own.push_back(n.in(2 + kind * count + i));
    updated.push_back(step(own));
  }
  Results results;
  for (std::size_t kind = 0; kind < updated[0].size(); ++kind) {
    for (const Results& own : updated) results.push_back(own[kind]);
  }
  return results;
}

Var rate_for(Node n, Var x) { return cast(reshape(n.in(0), {}), x.dtype()); }
Var count_for(Node n, Var x) { return cast(reshape(n.in(1), {}), x.dtype()); }
Var regularized(Node n, Var x, Var gradient) { return x * n.number("norm_coefficient", 0) + gradient; }

Results adagrad(Node n) {
  return stepped(n, 3, [&](std::span<const Var> t) -> Results {
    const Var x = t[0], g = regularized(n, x, t[1]);
    const Var rate = rate_for(n, x) / (count_for(n, x) * n.number("decay_factor", 0) + 1.0);
    const Var squares = t[2] + g * g;
    return {x - rate * g / (sqrt(squares) + n.number("epsilon", 1e-6)), squares};
  });
}

Results adam(Node n) {
  const double alpha = n.number("alpha", 0.9), beta = n.number("beta", 0.999);
  return stepped(n, 4, [&](std::span<const Var> t) -> Results {
    const Var x = t[0], g = regularized(n, x, t[1]), count = count_for(n, x), rate = rate_for(n, x);
    const Var mean = t[2] * alpha + g * (1 - alpha), squares = t[3] * beta + g * g * (1 - beta);
    const Var corrected = rate * sqrt(1.0 - pow(beta, count)) / (1.0 - pow(alpha, count));
    const Var step = select(gt(count, 0.0), corrected, rate) * mean / (sqrt(squares) + n.number("epsilon", 1e-6));
    return {(x - step) * (1 - n.number("norm_coefficient_post", 0)), mean, squares};
  });
}

Results momentum(Node n) {
  const std::string mode = n.text("mode", "");
  if (mode != "standard" && mode != "nesterov") n.invalid("a mode '" + mode + "', neither standard nor nesterov");
  for (const char* name : {"alpha", "beta", "norm_coefficient"}) {
    if (!n.has_attribute(name)) n.invalid(std::string("attribute '") + name + "' is missing");
  }
  const double alpha = n.number("alpha", 0), beta = n.number("beta", 0);
  return stepped(n, 3, [&](std::span<const Var> t) -> Results {
    const Var x = t[0], g = regularized(n, x, t[1]);
    const Var one = scalar(n.graph, x.dtype(), 1);
    const Var scale = select(gt(count_for(n, x), 0.0), one * beta, one);
    const Var velocity = t[2] * alpha + scale * g;
    return {x - rate_for(n, x) * (mode == "standard" ? velocity : g + velocity * alpha), velocity};
  });
}

constexpr Operator kOperators[] = {
    {"Adagrad", 1, kAny, adagrad, kDomain},
    {"Adam", 1, kAny, adam, kDomain},
    {"Gradient", 1, kAny, gradient, kDomain},
    {"Momentum", 1, kAny, momentum, kDomain},
};

}  // namespace

std::span<const Operator> training_operators() { return kOperators; }

}  // namespace ml::onnx
