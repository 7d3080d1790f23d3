// Layer norms, found in what exporters that know no such node write: a mean, a difference, the mean of its square, a
// root and a quotient, then a product with the scale and a sum with the bias; or, as TensorFlow has it, x m + (bias -
// mean m) with m = scale / root.
#include "engine/graph/build_nn.h"
#include "engine/graph/ops/norm.h"
#include "engine/passes/passes.h"
#include "engine/passes/patterns.h"
#include "engine/passes/walk.h"

namespace ml::passes {
namespace {

class Norms {
 public:
  std::vector<Var> operator()(const Visit& v) const {
    if (v.is("div")) return normalized(v, v.node.inputs[0], deviation_of(v, v.node.inputs[1], "sqrt"));
    if (v.is("mul")) {
      for (const std::size_t i : {0, 1}) {
        const std::size_t other = 1 - i;
        std::vector<Var> found = normalized(v, v.node.inputs[other], deviation_of(v, v.node.inputs[i], "rsqrt"));
        if (found.empty()) found = scaled(v, other, i);
        if (!found.empty()) return found;
      }
    }
    if (v.is("add")) {
      for (const std::size_t i : {0, 1}) {
        std::vector<Var> found = shifted(v, 1 - i, i);
        if (found.empty()) found = all_in_one(v, v.node.inputs[1 - i], v.node.inputs[i]);
        if (!found.empty()) return found;
      }
    }
    return {};
  }

 private:
  // x - mean(x) over the last dimensions from `axis` on.
  struct Centered {
    ValueId x, mean;
    std::int64_t axis;
  };
  static std::optional<Centered> centered(const Visit& v, ValueId value) {
    const Node* difference = made_by(v.from, value, "sub");
    if (difference == nullptr) return std::nullopt;
    const ValueId x = difference->inputs[0], mean = difference->inputs[1];
    const Node* average = made_by(v.from, mean, "reduce_mean");
    if (average == nullptr || average->inputs[0] != x) return std::nullopt;
    const auto& attributes = average->as<ReduceAttributes>();
    const auto count = static_cast<std::int64_t>(attributes.axes.size());
    const std::int64_t axis = v.from.type(x).shape.rank() - count;
    if (!attributes.keep_dims || count == 0 || attributes.axes.front() != axis) return std::nullopt;
    return Centered{x, mean, axis};
  }

  // The root of the variance and an epsilon, or one over it.
  struct Deviation {
    ValueId centered;  // whose square is averaged
    double epsilon;
    const Node* average;
  };
  static std::optional<Deviation> deviation_of(const Visit& v, ValueId value, std::string_view root) {
    const Node* node = made_by(v.from, value, root);
    const Node* sum = node == nullptr ? nullptr : made_by(v.from, node->inputs[0], "add");
    if (sum == nullptr) return std::nullopt;
    const std::optional<double> epsilon = splat_of(v.from, sum->inputs[1]);
    const Node* average = made_by(v.from, sum->inputs[0], "reduce_mean");
    if (!epsilon || !(*epsilon >= 0) || average == nullptr) return std::nullopt;
    const Node* square = made_by(v.from, average->inputs[0], "mul");
    if (square == nullptr || square->inputs[0] != square->inputs[1]) return std::nullopt;
    return Deviation{square->inputs[0], *epsilon, average};
  }
  static std::optional<Centered> variance_of(const Visit& v, const Deviation& deviation) {
    const std::optional<Centered> inside = centered(v, deviation.centered);
    const auto& averaged = deviation.average->as<ReduceAttributes>();
    const bool same = inside && averaged.keep_dims && averaged.axes.front() == inside->axis &&
                      static_cast<int>(averaged.axes.size()) == v.from.type(inside->x).shape.rank() - inside->axis;
    return same ? inside : std::nullopt;
  }

  static std::vector<Var> normalized(const Visit& v, ValueId difference, const std::optional<Deviation>& deviation) {
    // Squared (which reads it twice) and divided: nobody else may want it.
    if (!deviation || deviation->centered != difference || v.uses[difference] != 3) return {};
    const std::optional<Centered> inside = variance_of(v, *deviation);
    if (!inside) return {};
    return {layer_norm(v.now(inside->x), Var{}, Var{}, inside->axis, deviation->epsilon).y};
  }

  // The norm in the new graph that input i is, when only this node reads it.
  static const Node* norm_of(const Visit& v, std::size_t i) {
    const Node* norm = v.alone_reads(i) ? made_by(v.inputs[i], "layer_norm") : nullptr;
    return norm != nullptr && norm->first_output == v.inputs[i].id ? norm : nullptr;
  }
  // `parameter` in the shape that the norm wants, without dimensions of 1 in front.
  static Var parameter_of(Var x, const Node& norm, Var parameter) {
    const Shape& shape = x.shape();
    const auto axis = static_cast<int>(norm.as<LayerNormAttributes>().axis);
    const int leading = parameter.rank() - (shape.rank() - axis);
    if (leading < 0 || parameter.dtype() != x.dtype()) return {};
    Shape wanted;
    for (int i = 0; i < parameter.rank(); ++i) {
      const std::int64_t extent = parameter.shape()[i];
      if (i < leading ? extent != 1 : extent == kUnknown || extent != shape[i - leading + axis]) return {};
      if (i >= leading) wanted.append(extent);
    }
    return reshape(parameter, wanted);
  }

  static std::vector<Var> scaled(const Visit& v, std::size_t normal, std::size_t by) {
    const Node* norm = norm_of(v, normal);
    if (norm == nullptr || norm->inputs.size() != 1) return {};
    const Var x = operand(v.inputs[normal], *norm, 0);
    const auto attributes = norm->as<LayerNormAttributes>();
    const Var scale = parameter_of(x, *norm, v.inputs[by]);
    if (!scale) return {};
    return {layer_norm(x, scale, Var{}, attributes.axis, attributes.epsilon).y};
  }
  static std::vector<Var> shifted(const Visit& v, std::size_t normal, std::size_t by) {
    const Node* norm = norm_of(v, normal);
    if (norm == nullptr || norm->inputs.size() != 2) return {};
    const Var x = operand(v.inputs[normal], *norm, 0), scale = operand(v.inputs[normal], *norm, 1);
    const auto attributes = norm->as<LayerNormAttributes>();
    const Var bias = parameter_of(x, *norm, v.inputs[by]);
    if (!bias) return {};
    return {layer_norm(x, scale, bias, attributes.axis, attributes.epsilon).y};
  }

  // x m + (bias - mean m)
  static std::vector<Var> all_in_one(const Visit& v, ValueId product, ValueId rest) {
    const Node* first = made_by(v.from, product, "mul");
    const Node* difference = made_by(v.from, rest, "sub");
    const Node* second = difference == nullptr ? nullptr : made_by(v.from, difference->inputs[1], "mul");
    if (first == nullptr || second == nullptr) return {};
    for (const std::size_t i : {0, 1}) {
      const ValueId x = first->inputs[i], m = first->inputs[1 - i];
      const bool same = second->inputs[0] == m || second->inputs[1] == m;
      const Node* factor = made_by(v.from, m, "mul");
      if (!same || factor == nullptr) continue;
      const ValueId mean = second->inputs[second->inputs[0] == m ? 1 : 0];
      for (const std::size_t k : {0, 1}) {
        const std::optional<Deviation> deviation = deviation_of(v, factor->inputs[k], "rsqrt");
        const std::optional<Centered> inside = deviation ? variance_of(v, *deviation) : std::nullopt;
        if (!inside || inside->x != x || inside->mean != mean) continue;
        const Var normal = layer_norm(v.now(x), Var{}, Var{}, inside->axis, deviation->epsilon).y;
        const Node norm = *made_by(normal, "layer_norm");
        const Var scale = parameter_of(v.now(x), norm, v.now(factor->inputs[1 - k]));
        const Var bias = parameter_of(v.now(x), norm, v.now(difference->inputs[0]));
        if (scale && bias) return {layer_norm(v.now(x), scale, bias, inside->axis, deviation->epsilon).y};
      }
    }
    return {};
  }
};

}  // namespace

Graph find_norms(const Graph& graph) { return walk(graph, Norms{}); }

}  // namespace ml::passes
