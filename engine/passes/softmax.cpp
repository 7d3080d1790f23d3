// Softmax and its logarithm, found in exp(x - max(x)) / sum(exp(x - max(x))). Without the maximum it would be another
// function of large x, which overflows, and is left alone.
#include "engine/graph/build_nn.h"
#include "engine/passes/passes.h"
#include "engine/passes/patterns.h"
#include "engine/passes/walk.h"

namespace ml::passes {
namespace {

class Softmaxes {
 public:
  std::vector<Var> operator()(const Visit& v) const {
    if (v.is("div")) return divided(v, v.node.inputs[0], v.node.inputs[1]);
    if (v.is("mul")) {
      for (const std::size_t i : {0, 1}) {
        const Node* one_over = made_by(v.from, v.node.inputs[i], "reciprocal");
        if (one_over == nullptr) continue;
        std::vector<Var> found = divided(v, v.node.inputs[1 - i], one_over->inputs[0]);
        if (!found.empty()) return found;
      }
    }
    if (v.is("sub")) return logarithm(v, v.node.inputs[0], v.node.inputs[1]);
    return {};
  }

 private:
  // x and the axis, where something is x less its largest element along one axis.
  struct Centered {
    ValueId x;
    std::int64_t axis;
  };
  static std::optional<Centered> centered(const Visit& v, ValueId value) {
    const Node* difference = made_by(v.from, value, "sub");
    if (difference == nullptr) return std::nullopt;
    const Node* largest = made_by(v.from, difference->inputs[1], "reduce_max");
    if (largest == nullptr || largest->inputs[0] != difference->inputs[0]) return std::nullopt;
    const std::optional<std::int64_t> axis = one_axis(*largest);
    if (!axis) return std::nullopt;
    return Centered{difference->inputs[0], *axis};
  }
  static std::optional<std::int64_t> one_axis(const Node& reduction) {
    const auto& attributes = reduction.as<ReduceAttributes>();
    if (!attributes.keep_dims || attributes.axes.size() != 1) return std::nullopt;
    return attributes.axes[0];
  }
  // The value that is summed, where `sum` is a sum along that axis.
  static ValueId summed(const Visit& v, ValueId sum, std::int64_t axis) {
    const Node* node = made_by(v.from, sum, "reduce_sum");
    return node != nullptr && one_axis(*node) == axis ? node->inputs[0] : kNoValue;
  }

  static std::vector<Var> divided(const Visit& v, ValueId e, ValueId sum) {
    const Node* power = made_by(v.from, e, "exp");
    if (power == nullptr || v.uses[e] != 2) return {};
    const std::optional<Centered> inside = centered(v, power->inputs[0]);
    if (!inside || summed(v, sum, inside->axis) != e) return {};
    return {softmax(v.now(inside->x), inside->axis)};
  }

  // centered - log(sum(exp(centered)))
  static std::vector<Var> logarithm(const Visit& v, ValueId c, ValueId log_sum) {
    const Node* log = made_by(v.from, log_sum, "log");
    const std::optional<Centered> inside = centered(v, c);
    if (log == nullptr || !inside || v.uses[c] != 2) return {};
    const ValueId e = summed(v, log->inputs[0], inside->axis);
    const Node* power = e == kNoValue ? nullptr : made_by(v.from, e, "exp");
    if (power == nullptr || power->inputs[0] != c) return {};
    return {log_softmax(v.now(inside->x), inside->axis)};
  }
};

}  // namespace

Graph find_softmax(const Graph& graph) { return walk(graph, Softmaxes{}); }

}  // namespace ml::passes
