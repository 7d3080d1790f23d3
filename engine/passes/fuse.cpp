// Groups of element-wise nodes, with the reductions that end them, as one `fused` node each: what is between them never
// goes to memory.
//
// A group has one shape, that of its element-wise values; reductions fold it over the same axes. Groups grow along
// edges, producers first, and only where no path leaves the group and comes back, because that would be a cycle.
// Nothing is computed twice: a value that others read too becomes one more output. Broadcasts and splat constants cost
// nothing inside of a body, so every group has its own.
#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <string>
#include <utility>

#include "engine/passes/passes.h"
#include "engine/passes/rewriter.h"

namespace ml::passes {
namespace {

constexpr std::size_t kMaxNodes = 48;
constexpr std::uint32_t kNoGroup = ~std::uint32_t{0};

bool is_broadcast(const Node& node) { return node.op->name == "broadcast_to"; }
bool is_fold(const Node& node) {
  const std::string_view name = node.op->name;
  return name == "reduce_sum" || name == "reduce_prod" || name == "reduce_max" || name == "reduce_min";
}
bool is_pointwise(const Node& node) { return node.op->kind == OpKind::elementwise && node.output_count == 1; }

class Fuser {
 public:
  explicit Fuser(const Graph& graph) : graph_(graph), group_of_(graph.nodes().size(), kNoGroup) {}

  Graph run() {
    read_consumers();
    for (std::uint32_t index = 0; index < group_of_.size(); ++index) place(index);
    return rewrite();
  }

 private:
  struct Group {
    Shape shape;
    std::vector<std::uint32_t> nodes;  // in the graph's order
    bool folds = false;
    Ints axes;
  };

  const Node& node(std::uint32_t index) const { return graph_.nodes()[index]; }

  void read_consumers() {
    consumers_.resize(graph_.nodes().size());
    for (std::uint32_t index = 0; index < consumers_.size(); ++index) {
      for (const ValueId input : node(index).inputs) {
        const std::uint32_t producer = graph_.values()[input].producer;
        if (producer != kNoNode && (consumers_[producer].empty() || consumers_[producer].back() != index))
          consumers_[producer].push_back(index);
      }
    }
  }

  // Starts a group for the node, then joins it with those that make its operands.
  void place(std::uint32_t index) {
    const Node& current = node(index);
    const bool fold = is_fold(current);
    if (!fold && !is_pointwise(current)) return;
    Group group;
    group.shape = graph_.type(fold ? current.inputs[0] : current.first_output).shape;
    group.nodes = {index};
    group.folds = fold;
    if (fold) group.axes = current.as<ReduceAttributes>().axes;
    std::uint32_t own = static_cast<std::uint32_t>(groups_.size());
    groups_.push_back(std::move(group));
    group_of_[index] = own;
    for (const ValueId input : current.inputs) {
      const std::uint32_t producer = graph_.values()[input].producer;
      if (producer == kNoNode || group_of_[producer] == kNoGroup || group_of_[producer] == own) continue;
      if (may_join(group_of_[producer], own)) own = join(group_of_[producer], own);
    }
  }

  bool may_join(std::uint32_t a, std::uint32_t b) const {
    const Group &left = groups_[a], &right = groups_[b];
    if (left.shape != right.shape || left.nodes.size() + right.nodes.size() > kMaxNodes) return false;
    if (left.folds && right.folds && left.axes != right.axes) return false;
    return !reads_fold_of(left, right) && !reads_fold_of(right, left) && !leaves_and_returns(a, b);
  }

  // Whether a node of `reader` reads the result of a reduction of `maker`: that is known only when all of it has run.
  bool reads_fold_of(const Group& maker, const Group& reader) const {
    if (!maker.folds) return false;
    for (const std::uint32_t index : reader.nodes) {
      for (const ValueId input : node(index).inputs) {
        const std::uint32_t producer = producer_through_broadcasts(input);
        if (producer != kNoNode && is_fold(node(producer)) &&
            std::ranges::find(maker.nodes, producer) != maker.nodes.end())
          return true;
      }
    }
    return false;
  }

  std::uint32_t producer_through_broadcasts(ValueId value) const {
    std::uint32_t producer = graph_.values()[value].producer;
    while (producer != kNoNode && is_broadcast(node(producer)))
      producer = graph_.values()[node(producer).inputs[0]].producer;
    return producer;
  }

  // Whether a path from the joined group leads through a node outside of it back into it. Groups count as one node.
  bool leaves_and_returns(std::uint32_t a, std::uint32_t b) const {
    std::vector<bool> seen(graph_.nodes().size(), false);
    std::vector<std::uint32_t> todo;
    const auto inside = [&](std::uint32_t index) { return group_of_[index] == a || group_of_[index] == b; };
    // What stands behind the last node placed, which is b's, is in no group yet, and so is all that it leads to.
    const std::uint32_t last = groups_[b].nodes.back();
    const auto visit = [&](std::uint32_t index) {
      if (index > last || seen[index]) return;
      seen[index] = true;
      todo.push_back(index);
    };
    for (const std::uint32_t group : {a, b}) {
      for (const std::uint32_t index : groups_[group].nodes) {
        for (const std::uint32_t consumer : consumers_[index]) {
          if (!inside(consumer)) visit(consumer);
        }
      }
    }
    while (!todo.empty()) {
      const std::uint32_t index = todo.back();
      todo.pop_back();
      if (inside(index)) return true;
      const auto follow = [&](std::uint32_t from) {
        for (const std::uint32_t consumer : consumers_[from]) visit(consumer);
      };
      if (group_of_[index] == kNoGroup) {
        follow(index);
        continue;
      }
      for (const std::uint32_t member : groups_[group_of_[index]].nodes) {
        seen[member] = true;
        follow(member);
      }
    }
    return false;
  }

  std::uint32_t join(std::uint32_t into, std::uint32_t from) {
    Group &kept = groups_[into], &gone = groups_[from];
    for (const std::uint32_t index : gone.nodes) group_of_[index] = into;
    kept.nodes.insert(kept.nodes.end(), gone.nodes.begin(), gone.nodes.end());
    std::ranges::sort(kept.nodes);
    if (gone.folds) kept.axes = gone.axes;
    kept.folds = kept.folds || gone.folds;
    gone.nodes.clear();
    return into;
  }

  bool is_fused(std::uint32_t index) const {
    return group_of_[index] != kNoGroup && groups_[group_of_[index]].nodes.size() > 1;
  }
  // What is emitted in one piece with the node: named by its first node.
  std::uint32_t unit_of(std::uint32_t index) const {
    return is_fused(index) ? groups_[group_of_[index]].nodes.front() : index;
  }

  // Emits groups and single nodes, each when all it reads is there; the first in the graph's order first.
  Graph rewrite() {
    const std::size_t count = graph_.nodes().size();
    std::vector<std::uint32_t> waits(count, 0);
    std::vector<std::vector<std::uint32_t>> followers(count);
    for (std::uint32_t index = 0; index < count; ++index) {
      for (const ValueId input : node(index).inputs) {
        const std::uint32_t producer = graph_.values()[input].producer;
        if (producer == kNoNode || unit_of(producer) == unit_of(index)) continue;
        ++waits[unit_of(index)];
        followers[unit_of(producer)].push_back(unit_of(index));
      }
    }
    std::priority_queue<std::uint32_t, std::vector<std::uint32_t>, std::greater<>> ready;
    for (std::uint32_t index = 0; index < count; ++index) {
      if (unit_of(index) == index && waits[index] == 0) ready.push(index);
    }
    const std::vector<std::uint32_t> uses = use_counts(graph_);
    Rewriter rewriter(graph_);
    rewriter.copy_inputs();
    while (!ready.empty()) {
      const std::uint32_t unit = ready.top();
      ready.pop();
      if (is_fused(unit)) {
        emit_group(rewriter, groups_[group_of_[unit]], uses);
      } else {
        rewriter.copy(node(unit));
      }
      for (const std::uint32_t follower : followers[unit]) {
        if (--waits[follower] == 0) ready.push(follower);
      }
    }
    return eliminate_dead_code(rewriter.finish());
  }

  void emit_group(Rewriter& rewriter, const Group& group, std::span<const std::uint32_t> uses) const {
    static const Op& fused = find_op("fused");
    auto attributes = std::make_shared<BodyAttributes>();
    auto body = std::make_shared<Graph>();
    body->name = "fused";
    std::map<ValueId, ValueId> inside;  // of the graph -> of the body
    std::vector<ValueId> inputs;        // of the new graph
    const auto use = [&](auto& self, ValueId value) -> ValueId {
      if (const auto found = inside.find(value); found != inside.end()) return found->second;
      const Node* const producer = graph_.producer(value);
      ValueId result = kNoValue;
      if (producer != nullptr && is_broadcast(*producer)) {
        const ValueId operand = self(self, producer->inputs[0]);
        result = body->add_unchecked(*producer->op, producer->attributes, {&operand, 1}, {&graph_.type(value), 1});
      } else if (const ConstantData* constant = graph_.constant(value); constant != nullptr && is_splat(*constant)) {
        result = body->add_unchecked(*producer->op, producer->attributes, {}, {&graph_.type(value), 1});
      } else {
        result = body->add_input("x" + std::to_string(inputs.size()), graph_.type(value));
        inputs.push_back(rewriter.mapped(value));
      }
      inside.emplace(value, result);
      return result;
    };
    std::map<ValueId, std::uint32_t> read_inside;
    for (const std::uint32_t index : group.nodes) {
      for (const ValueId input : node(index).inputs) ++read_inside[input];
    }
    std::vector<ValueId> results;
    for (const std::uint32_t index : group.nodes) {
      const Node& member = node(index);
      std::vector<ValueId> operands;
      for (const ValueId input : member.inputs) operands.push_back(use(use, input));
      const ValueId value = member.first_output;
      inside[value] = body->add_unchecked(*member.op, member.attributes, operands, {&graph_.type(value), 1});
      const auto read = read_inside.find(value);
      if (uses[value] != (read == read_inside.end() ? 0 : read->second)) results.push_back(value);
    }
    for (std::size_t i = 0; i < results.size(); ++i) body->add_output("y" + std::to_string(i), inside.at(results[i]));
    attributes->body = std::move(body);
    const ValueId first =
        rewriter.graph().add_unchecked(fused, std::move(attributes), inputs, types_of(graph_, results));
    for (std::size_t i = 0; i < results.size(); ++i) rewriter.map(results[i], first + static_cast<ValueId>(i));
  }

  static bool is_splat(const ConstantData& constant) {
    double value = 0;
    return constant.shape.elements() == 1 || splat_value(constant, value);
  }

  const Graph& graph_;
  std::vector<std::vector<std::uint32_t>> consumers_;  // per node
  std::vector<Group> groups_;
  std::vector<std::uint32_t> group_of_;  // per node
};

}  // namespace

Graph fuse(const Graph& graph) { return Fuser(graph).run(); }

}  // namespace ml::passes
