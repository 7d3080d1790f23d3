// Activations, found in the arithmetic that exporters write for them: what is one row can be one kernel, or the end of
// the product before it.
#include <cmath>
#include <numbers>

#include "engine/passes/passes.h"
#include "engine/passes/patterns.h"
#include "engine/passes/polynomial.h"
#include "engine/passes/walk.h"

namespace ml::passes {
namespace {

// low and high of min(max(inside, low), high) in either order.
struct Clamp {
  Var inside;
  double low, high;
};
std::optional<Clamp> clamp_of(Var x) {
  for (const bool low_first : {true, false}) {
    const Node* outer = made_by(x, low_first ? "minimum" : "maximum");
    if (outer == nullptr) continue;
    const Var between = operand(x, *outer, 0);
    const Node* inner = made_by(between, low_first ? "maximum" : "minimum");
    const bool is_relu = inner == nullptr && low_first && (inner = made_by(between, "relu")) != nullptr;
    if (inner == nullptr) continue;
    const std::optional<double> last = splat_of(operand(x, *outer, 1));
    const std::optional<double> first = is_relu ? 0 : splat_of(operand(between, *inner, 1));
    if (!first || !last) continue;
    return Clamp{operand(between, *inner, 0), low_first ? *first : *last, low_first ? *last : *first};
  }
  return std::nullopt;
}

class Activations {
 public:
  std::vector<Var> operator()(const Visit& v) const {
    const Var result = rewrite(v);
    return result ? std::vector<Var>{result} : std::vector<Var>{};
  }

 private:
  static Var rewrite(const Visit& v) {
    if (v.node.op->kind != OpKind::elementwise) return {};
    if (v.is("maximum")) return is_splat(v.inputs[1], 0) ? relu(v.inputs[0]) : Var{};
    if (!is_floating(v.inputs[0].dtype())) return {};
    if (v.is("reciprocal")) {
      const Var x = logistic_of(v.inputs[0]);
      return x ? sigmoid(x) : Var{};
    }
    if (v.is("div")) {
      const Var x = logistic_of(v.inputs[1]);
      if (x && x.id == v.inputs[0].id) return silu(x);
    }
    return v.is("mul") || v.is("div") ? product(v) : Var{};
  }

  // x where `value` is 1 + exp(-x).
  static Var logistic_of(Var value) {
    const Node* sum = made_by(value, "add");
    if (sum == nullptr || !is_splat(operand(value, *sum, 1), 1)) return {};
    const Var e = operand(value, *sum, 0);
    const Node* power = made_by(e, "exp");
    if (power == nullptr) return {};
    const Var exponent = operand(e, *power, 0);
    if (const Node* negated = made_by(exponent, "neg")) return operand(exponent, *negated, 0);
    const Node* scaled = made_by(exponent, "mul");
    return scaled != nullptr && is_splat(operand(exponent, *scaled, 1), -1) ? operand(exponent, *scaled, 0) : Var{};
  }

  // The product that `v` is, without its node: what is behind it stands in the new graph already.
  static Var product(const Visit& v) {
    // Every value that the product is made of, in any grouping: x and the function of it are among them.
    std::vector<Var> parts;
    collect(v.inputs[0], 3, parts);
    if (v.is("mul")) collect(v.inputs[1], 3, parts);
    for (const Var f : parts) {
      if (const Node* node = made_by(f, "sigmoid")) {
        const Var x = operand(f, *node, 0);
        if (made_of(v, x, f, 1)) return silu(x);
      }
      if (const std::optional<Clamp> clamp = clamp_of(f)) {
        if (const Var x = hard_swish_of(v, parts, f, *clamp)) return hard_swish(x);
      }
      if (made_by(f, "add") != nullptr) {
        if (const Var x = gelu(v, parts, f)) return x;
      }
    }
    return {};
  }
  static void collect(Var value, int depth, std::vector<Var>& parts) {
    parts.push_back(value);
    const Node* node = depth == 0 ? nullptr : value.graph->producer(value.id);
    if (node == nullptr) return;
    if (node->op->name == "mul") {
      const Var a = operand(value, *node, 0), b = operand(value, *node, 1);
      collect(a, depth - 1, parts);
      collect(b, depth - 1, parts);
    } else if (node->op->name == "div") {
      collect(operand(value, *node, 0), depth - 1, parts);
    }
  }
  // Whether the node is scale * x * f.
  static bool made_of(const Visit& v, Var x, Var f, double scale) {
    Product all = product_of(v.inputs[0], {x, f});
    if (v.is("div")) {
      const std::optional<double> number = splat_of(v.inputs[1]);
      if (!number) return false;
      all.scale /= *number;
    } else {
      const Product more = product_of(v.inputs[1], {x, f});
      all.scale *= more.scale;
      all.factors.insert(all.factors.end(), more.factors.begin(), more.factors.end());
    }
    if (all.factors.size() != 2 || !same_polynomial({all.scale, 0, 0, 0}, {scale, 0, 0, 0}, x.dtype())) return false;
    const ValueId a = all.factors[0].id, b = all.factors[1].id;
    return (a == x.id && b == f.id) || (a == f.id && b == x.id);
  }

  // x * clamp(x / 6 + 1/2, 0, 1), also as x * clamp(x + 3, 0, 6) / 6.
  static Var hard_swish_of(const Visit& v, std::span<const Var> parts, Var f, const Clamp& clamp) {
    if (clamp.low != 0 || !(clamp.high > 0)) return {};
    const double scale = 1 / clamp.high;
    for (const Var x : parts) {
      const bool inside = is_polynomial(clamp.inside, x, {0.5 / scale, 1 / (6 * scale), 0, 0});
      if (inside && made_of(v, x, f, scale)) return x;
    }
    return {};
  }

  // x / 2 * (1 + erf(x / sqrt 2)), or with tanh(sqrt(2 / pi) (x + 0.044715 x^3)) for the erf.
  static Var gelu(const Visit& v, std::span<const Var> parts, Var f) {
    const Node* sum = made_by(f, "add");
    for (const std::size_t i : {0, 1}) {
      const Var e = operand(f, *sum, i);
      const Node* inner = made_by(e, "erf");
      const bool by_tanh = inner == nullptr && (inner = made_by(e, "tanh")) != nullptr;
      if (inner == nullptr || !is_polynomial(f, e, {1, 1, 0, 0})) continue;
      const Var argument = operand(e, *inner, 0);
      const double c = by_tanh ? std::sqrt(2 * std::numbers::inv_pi) : 1 / std::numbers::sqrt2;
      const Polynomial wanted{0, c, 0, by_tanh ? c * 0.044715 : 0};
      for (const Var x : parts) {
        if (is_polynomial(argument, x, wanted) && made_of(v, x, f, 0.5)) return ml::gelu(x, by_tanh);
      }
    }
    return {};
  }
};

}  // namespace

Graph find_activations(const Graph& graph) { return walk(graph, Activations{}); }

}  // namespace ml::passes
