#include "engine/graph/autodiff.h"

#include <algorithm>

#include "ml/error.h"

namespace ml {
namespace {

std::string text(Var x) { return std::string(dtype_name(x.dtype())) + x.shape().str(); }

[[noreturn]] void refuse(const std::string& what, const std::string& hint = {}) {
  throw Error(Code::invalid_argument, "gradients: " + what, {}, hint);
}

// The sweep from outputs to inputs. Rules append to the graph while it runs, so nothing here keeps a reference into it.
class Sweep {
 public:
  Sweep(Graph& graph, std::span<const Var> wrt)
      : graph_(graph), nodes_(graph.nodes().size()), depends_(graph.values().size(), 0) {
    for (const Var& x : wrt) depends_[x.id] = 1;
    for (const Node& node : graph.nodes()) {
      if (std::ranges::none_of(node.inputs, [&](ValueId input) { return depends_[input] != 0; })) continue;
      for (std::uint32_t i = 0; i < node.output_count; ++i) {
        // Integers, booleans and narrow dtypes carry no derivative: whatever lies behind them is constant here.
        if (is_differentiable(graph.type(node.output(i)).dtype)) depends_[node.output(i)] = 1;
      }
    }
    cotangents_.resize(depends_.size());
  }

  void add(ValueId value, Var cotangent) {
    if (depends_[value] == 0) return;
    Var& sum = cotangents_[value];
    sum = sum ? ml::add(sum, cotangent) : cotangent;
  }

  void run() {
    for (std::size_t i = nodes_; i-- > 0;) {
      const Node node = graph_.nodes()[i];
      bool matters = false;
      for (std::uint32_t k = 0; k < node.output_count; ++k) matters |= bool(cotangents_[node.output(k)]);
      // A cotangent gets only to values that depend on wrt: this one through an input, or as one of wrt itself.
      if (matters && std::ranges::any_of(node.inputs, [&](ValueId input) { return depends_[input] != 0; })) {
        differentiate(node);
      }
    }
  }

  Var result(Var x) const { return cotangents_[x.id] ? cotangents_[x.id] : zeros_like(x); }

 private:
  Var var(ValueId id) const { return {&graph_, id}; }

  void differentiate(const Node& node) {
    const std::string name(node.op->name);
    if (node.op->gradient.rule == nullptr) {
      throw Error(Code::unsupported, "gradients: " + name + " has no gradient: " + node.op->gradient.none);
    }
    std::vector<Var> inputs, outputs, cotangents;
    std::vector<std::uint8_t> wanted;
    for (const ValueId input : node.inputs) {
      inputs.push_back(var(input));
      wanted.push_back(depends_[input]);
      want_known(name, inputs.back());
    }
    for (std::uint32_t k = 0; k < node.output_count; ++k) {
      outputs.push_back(var(node.output(k)));
      cotangents.push_back(cotangents_[node.output(k)]);
      want_known(name, outputs.back());
    }
    const std::vector<Var> results =
        node.op->gradient.rule({graph_, inputs, outputs, cotangents, node.attributes, wanted});
    if (results.size() != inputs.size()) {
      throw Error(Code::internal, "gradients: the rule of " + name + " answers " + std::to_string(results.size()) +
                                      " cotangents for " + std::to_string(inputs.size()) + " inputs");
    }
    for (std::size_t k = 0; k < inputs.size(); ++k) {
      if (!results[k] || wanted[k] == 0) continue;
      if (results[k].dtype() != inputs[k].dtype()) {
        throw Error(Code::internal, "gradients: the rule of " + name + " answers " + text(results[k]) + " for input " +
                                        std::to_string(k) + ", " + text(inputs[k]));
      }
      add(inputs[k].id, sum_to(results[k], inputs[k].shape()));
    }
  }

  static void want_known(const std::string& name, Var x) {
    if (!x.shape().known()) refuse(name + " has an operand of unknown extent: " + text(x), "bind the graph first");
  }

  Graph& graph_;
  std::size_t nodes_;                  // before the sweep; it appends others, adding up seeds too
  std::vector<std::uint8_t> depends_;  // per value: differentiable and computed from one of wrt
  std::vector<Var> cotangents_;        // per value, invalid: none so far
};

}  // namespace

std::vector<Var> gradients(std::span<const Var> outputs, std::span<const Var> seeds, std::span<const Var> wrt) {
  if (wrt.empty()) return {};
  Graph& graph = *wrt.front().graph;
  if (outputs.size() != seeds.size()) {
    refuse(std::to_string(seeds.size()) + " seeds for " + std::to_string(outputs.size()) + " outputs");
  }
  for (const std::span<const Var> vars : {outputs, seeds, wrt}) {
    for (const Var& x : vars) {
      if (x.graph != &graph) throw Error(Code::internal, "gradients: operands must be values of one graph");
    }
  }
  for (const Var& x : wrt) {
    if (!is_differentiable(x.dtype()))
      refuse("cannot differentiate with respect to " + text(x), "cast it to a float first");
  }
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    if (!is_differentiable(outputs[i].dtype()))
      refuse("output " + std::to_string(i) + " is " + text(outputs[i]) + ", no float");
    if (seeds[i].type() != outputs[i].type()) {
      refuse("seed " + std::to_string(i) + " is " + text(seeds[i]) + " for an output " + text(outputs[i]));
    }
  }
  Sweep sweep(graph, wrt);
  for (std::size_t i = 0; i < outputs.size(); ++i) sweep.add(outputs[i].id, seeds[i]);
  sweep.run();
  std::vector<Var> results;
  for (const Var& x : wrt) results.push_back(sweep.result(x));
  return results;
}

std::vector<Var> gradients(Var loss, std::span<const Var> wrt) {
  if (loss.rank() != 0) refuse("the loss must be a scalar, not " + text(loss), "sum or average it");
  const Var seed = scalar(*loss.graph, loss.dtype(), 1);
  return gradients(std::span(&loss, 1), std::span(&seed, 1), wrt);
}

}  // namespace ml
