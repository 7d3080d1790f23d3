// Scaled dot-product attention, found in a product of queries and keys, a factor, a mask, a softmax and a product with
// values. Transposes of the keys have become the product's own by then (movement.cpp).
//
// It runs on bound graphs: products broadcast their batches, attention doesn't, and only known extents tell that they
// need not. What the device has no kernel for stays as it is, since attention taken apart is more than it was made of.
//
// A number that masks scores becomes what is added to them. Where -inf hides every key from a query, the softmax was
// NaN and attention is 0.
#include "engine/graph/ops/attention.h"

#include <cmath>
#include <limits>

#include "engine/graph/build_nn.h"
#include "engine/graph/ops/matmul.h"
#include "engine/passes/passes.h"
#include "engine/passes/patterns.h"
#include "engine/passes/walk.h"

namespace ml::passes {
namespace {

constexpr int kRank = 4;  // [batch, heads, tokens, width]

class Attentions {
 public:
  explicit Attentions(const KeepRule& keep) : keep_(keep) {}

  std::vector<Var> operator()(const Visit& v) const {
    const Var result = v.is("matmul") ? rewrite(v) : Var{};
    return result ? std::vector<Var>{result} : std::vector<Var>{};
  }

 private:
  // The operands, and what becomes of the scores between the product and the softmax, from the softmax back.
  struct Found {
    ValueId q = kNoValue, k = kNoValue;
    double scale = 1;
    ValueId bias = kNoValue;     // added to the scores
    ValueId visible = kNoValue;  // where a score isn't replaced by `hidden`
    double hidden = 0;

    bool masked() const { return bias != kNoValue || visible != kNoValue; }
  };

  Var rewrite(const Visit& v) const {
    const auto& outer = v.as<MatmulAttributes>();
    const ValueId p = v.node.inputs[0], values = v.node.inputs[1];
    const Node* soft = made_by(v.from, p, "softmax");
    if (soft == nullptr || v.uses[p] != 1 || outer.transpose_a || outer.transpose_b) return {};
    const Shape& probabilities = v.from.type(p).shape;
    if (!is_floating(v.from.type(p).dtype) || probabilities.rank() != kRank ||
        soft->as<AxisAttributes>().axis != kRank - 1 || v.from.type(values).shape.rank() != kRank)
      return {};
    Found found;
    if (!scores(v, soft->inputs[0], found)) return {};
    if (v.from.type(found.q).shape.rank() != kRank || v.from.type(found.k).shape.rank() != kRank) return {};
    if (!fits(v, found, values)) return {};
    Var bias = found.bias == kNoValue ? Var{} : v.now(found.bias);
    if (found.visible != kNoValue) {
      const Var visible = v.now(found.visible);
      if (found.hidden == -std::numeric_limits<double>::infinity()) {
        bias = visible;
      } else {
        const DType dtype = v.from.type(p).dtype;
        bias = select(visible, scalar(v.graph(), dtype, 0), scalar(v.graph(), dtype, found.hidden));
      }
    }
    AttentionAttributes attributes;
    attributes.scale = found.scale;
    const Var y = attention(v.now(found.q), v.now(found.k), v.now(values), bias, Var{}, attributes).y;
    return keep_(v.graph(), *v.graph().producer(y.id)) ? y : Var{};
  }

  // Nothing is broadcast but the mask.
  static bool fits(const Visit& v, const Found& found, ValueId values) {
    const Shape &q = v.from.type(found.q).shape, &k = v.from.type(found.k).shape, &w = v.from.type(values).shape;
    if (!q.known() || !k.known() || !w.known() || q.elements() == 0 || k.elements() == 0) return false;
    return q[0] == k[0] && k[0] == w[0] && q[1] == k[1] && k[1] == w[1] && k[2] == w[2] && q[3] == k[3];
  }

  static bool product(const Visit& v, const Node& node, const TensorType& type, Found& found) {
    const auto& attributes = node.as<MatmulAttributes>();
    if (attributes.transpose_a || !attributes.transpose_b || v.from.type(node.first_output) != type) return false;
    found.q = unscaled(v, node.inputs[0], found.scale);
    found.k = unscaled(v, node.inputs[1], found.scale);
    return std::isfinite(found.scale);
  }
  // A factor that was applied to the queries or keys before.
  static ValueId unscaled(const Visit& v, ValueId value, double& scale) {
    const Node* node = v.from.producer(value);
    if (node == nullptr || v.uses[value] != 1) return value;
    const bool times = node->op->name == "mul", over = node->op->name == "div";
    if ((!times && !over) || v.from.type(node->inputs[0]) != v.from.type(value)) return value;
    const std::optional<double> number = splat_of(v.from, node->inputs[1]);
    if (!number || *number == 0) return value;
    scale = times ? scale * *number : scale / *number;
    return node->inputs[0];
  }

  static bool leads_to_product(const Visit& v, ValueId value) {
    for (int depth = 0; depth < 3; ++depth) {
      const Node* node = v.from.producer(value);
      if (node == nullptr) return false;
      if (node->op->name == "matmul") return true;
      if (node->op->name != "mul" && node->op->name != "div") return false;
      value = node->inputs[0];
    }
    return false;
  }

  // Follows what is done to the scores back to their product.
  static bool scores(const Visit& v, ValueId value, Found& found) {
    const TensorType type = v.from.type(value);
    for (int depth = 0; depth < 4; ++depth) {
      const Node* node = v.from.producer(value);
      if (node == nullptr || v.uses[value] != 1) return false;
      const std::string_view op = node->op->name;
      if (op == "matmul") return product(v, *node, type, found);
      if (op == "mul" || op == "div") {
        const std::optional<double> number = splat_of(v.from, node->inputs[1]);
        if (!number || !std::isfinite(*number) || *number == 0) return false;
        found.scale = op == "mul" ? found.scale * *number : found.scale / *number;
      } else if (op == "add" && !found.masked() && found.scale == 1) {
        // The mask is the operand that no product leads to.
        const std::size_t mask = leads_to_product(v, node->inputs[0]) ? 1 : 0;
        found.bias = node->inputs[mask];
        value = node->inputs[1 - mask];
        continue;
      } else if (op == "select" && !found.masked() && found.scale == 1) {
        const std::optional<double> hidden = splat_of(v.from, node->inputs[2]);
        // A number that swallows every score: adding it is replacing by it.
        if (!hidden || !(*hidden <= -1e30)) return false;
        found.visible = node->inputs[0];
        found.hidden = *hidden;
        value = node->inputs[1];
        continue;
      } else {
        return false;
      }
      value = node->inputs[0];
    }
    return false;
  }

  const KeepRule& keep_;
};

}  // namespace

Graph find_attention(const Graph& graph, const KeepRule& keep) { return walk(graph, Attentions(keep)); }

}  // namespace ml::passes
