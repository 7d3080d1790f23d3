// Epilogues: what is done to each element of a convolution's or product's result (a bias, an activation, a residual
// that is added) becomes part of its node, where the device can do it before the result goes to memory.
//
// A chain of nodes is followed as long as each is read by the next alone and keeps the type; the longest part of it
// that the device takes is joined. The chain runs where its last node stood, when all its other operands are there.
#include <memory>
#include <string>

#include "engine/passes/passes.h"
#include "engine/passes/patterns.h"
#include "engine/passes/rewriter.h"

namespace ml::passes {
namespace {

constexpr std::size_t kMostNodes = 8;

class Epilogues {
 public:
  Epilogues(const Graph& graph, const KeepRule& keep)
      : graph_(graph),
        keep_(keep),
        rewriter_(graph),
        uses_(use_counts(graph)),
        reader_(graph.values().size(), kNoNode) {}

  Graph run() {
    for (std::uint32_t index = 0; index < graph_.nodes().size(); ++index) {
      for (const ValueId input : graph_.nodes()[index].inputs) reader_[input] = index;
    }
    find_chains();
    rewriter_.copy_inputs();
    for (std::uint32_t index = 0; index < graph_.nodes().size(); ++index) {
      const Node& node = graph_.nodes()[index];
      const std::vector<std::uint32_t>* const chain = chain_at_[index];
      // Members of a chain wait for its last node; one that isn't joined is copied then.
      if (chain == nullptr) {
        rewriter_.copy(node);
      } else if (chain->back() == index) {
        append(*chain);
      }
    }
    return eliminate_dead_code(rewriter_.finish());
  }

 private:
  static bool may_follow(const Node& node) {
    const std::string_view op = node.op->name;
    return node.output_count == 1 &&
           (node.op->kind == OpKind::elementwise || op == "relu" || op == "gelu" || op == "silu" || op == "hard_swish");
  }

  void find_chains() {
    chain_at_.assign(graph_.nodes().size(), nullptr);
    for (std::uint32_t index = 0; index < graph_.nodes().size(); ++index) {
      const Node& first = graph_.nodes()[index];
      if (first.op->kind != OpKind::contraction || chain_at_[index] != nullptr) continue;
      std::vector<std::uint32_t> chain{index};
      const TensorType& type = graph_.type(first.first_output);
      while (chain.size() < kMostNodes) {
        const ValueId value = graph_.nodes()[chain.back()].first_output;
        const std::uint32_t next = uses_[value] == 1 ? reader_[value] : kNoNode;
        if (next == kNoNode || chain_at_[next] != nullptr || !may_follow(graph_.nodes()[next]) ||
            graph_.type(graph_.nodes()[next].first_output) != type)
          break;
        chain.push_back(next);
      }
      if (chain.size() == 1) continue;
      chains_.push_back(std::make_unique<std::vector<std::uint32_t>>(std::move(chain)));
      for (const std::uint32_t member : *chains_.back()) chain_at_[member] = chains_.back().get();
    }
  }

  void append(const std::vector<std::uint32_t>& chain) {
    std::size_t joined = chain.size();
    for (; joined > 1; --joined) {
      const ValueId value = join(std::span(chain).first(joined));
      if (value == kNoValue) continue;
      rewriter_.map(graph_.nodes()[chain[joined - 1]].first_output, value);
      break;
    }
    for (std::size_t i = joined > 1 ? joined : 0; i < chain.size(); ++i) rewriter_.copy(graph_.nodes()[chain[i]]);
  }

  // The chain as one node of the new graph, or nothing when the device doesn't take it.
  ValueId join(std::span<const std::uint32_t> chain) {
    static const Op& op = find_op("fused_contraction");
    auto body = std::make_shared<Graph>();
    body->name = "contraction";
    std::vector<ValueId> inputs;  // of the new graph
    std::vector<std::pair<ValueId, ValueId>> inside;
    const auto find = [&inside](ValueId value) {
      for (const auto& [outer, inner] : inside) {
        if (outer == value) return inner;
      }
      return kNoValue;
    };
    const auto take = [&](ValueId value) {
      inputs.push_back(rewriter_.mapped(value));
      const ValueId input = body->add_input("x" + std::to_string(body->inputs().size()), graph_.type(value));
      inside.emplace_back(value, input);
      return input;
    };
    std::vector<ValueId> operands;
    // The contraction's operands come first, each by itself: it may take one twice.
    for (const ValueId input : graph_.nodes()[chain[0]].inputs) operands.push_back(take(input));
    for (const std::uint32_t index : chain) {
      const Node& node = graph_.nodes()[index];
      if (index != chain[0]) {
        operands.clear();
        for (const ValueId input : node.inputs) {
          ValueId operand = find(input);
          if (operand == kNoValue && splat_of(graph_, input) && graph_.constant(input) != nullptr) {
            operand = body->add_constant(graph_.producer(input)->as<ConstantAttributes>().value);
            inside.emplace_back(input, operand);
          }
          operands.push_back(operand != kNoValue ? operand : take(input));
        }
      }
      const ValueId value =
          body->add_unchecked(*node.op, node.attributes, operands, {&graph_.type(node.first_output), 1});
      inside.emplace_back(node.first_output, value);
    }
    const ValueId last = graph_.nodes()[chain.back()].first_output;
    body->add_output("y", find(last));
    auto attributes = std::make_shared<BodyAttributes>();
    attributes->body = std::move(body);
    const ValueId value = rewriter_.graph().add_unchecked(op, std::move(attributes), inputs, {&graph_.type(last), 1});
    return keep_(rewriter_.graph(), rewriter_.graph().nodes().back()) ? value : kNoValue;
  }

  const Graph& graph_;
  const KeepRule& keep_;
  Rewriter rewriter_;
  std::vector<std::uint32_t> uses_;
  std::vector<std::uint32_t> reader_;  // per value: its last one
  std::vector<std::unique_ptr<std::vector<std::uint32_t>>> chains_;
  std::vector<const std::vector<std::uint32_t>*> chain_at_;  // per node, null where it is in none
};

}  // namespace

Graph join_epilogues(const Graph& graph, const KeepRule& keep) { return Epilogues(graph, keep).run(); }

}  // namespace ml::passes
