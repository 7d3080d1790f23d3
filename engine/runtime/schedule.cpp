#include "engine/runtime/schedule.h"

#include <functional>
#include <queue>

namespace ml::runtime {
namespace {

constexpr std::string_view kReshape = "reshape";

// What must come after what: a node after those that make its inputs, and a writer of donated memory after its readers.
class Dependencies {
 public:
  Dependencies(const Graph& graph) : after_(graph.nodes().size()), before_(graph.nodes().size(), 0) {
    for (std::uint32_t node = 0; node < graph.nodes().size(); ++node) {
      for (const ValueId input : graph.nodes()[node].inputs) {
        const std::uint32_t producer = graph.values()[input].producer;
        if (producer != kNoNode) add(producer, node);
      }
    }
  }

  void add(std::uint32_t first, std::uint32_t second) {
    after_[first].push_back(second);
    ++before_[second];
  }

  // Whether any of `targets` (flags per node) must come after `node`.
  bool reaches(std::uint32_t node, const std::vector<bool>& targets) const {
    std::vector<bool> seen(after_.size(), false);
    std::vector<std::uint32_t> stack{node};
    seen[node] = true;
    while (!stack.empty()) {
      const std::uint32_t at = stack.back();
      stack.pop_back();
      for (const std::uint32_t next : after_[at]) {
        if (seen[next]) continue;
        if (targets[next]) return true;
        seen[next] = true;
        stack.push_back(next);
      }
    }
    return false;
  }

  // The smallest node first among those that are free.
  std::vector<std::uint32_t> order() const {
    std::vector<std::uint32_t> waiting = before_, result;
    std::priority_queue<std::uint32_t, std::vector<std::uint32_t>, std::greater<>> ready;
    for (std::uint32_t node = 0; node < waiting.size(); ++node) {
      if (waiting[node] == 0) ready.push(node);
    }
    while (!ready.empty()) {
      const std::uint32_t node = ready.top();
      ready.pop();
      result.push_back(node);
      for (const std::uint32_t next : after_[node]) {
        if (--waiting[next] == 0) ready.push(next);
      }
    }
    return result;
  }

 private:
  std::vector<std::vector<std::uint32_t>> after_;
  std::vector<std::uint32_t> before_;  // how many come before
};

}  // namespace

std::vector<ValueId> storages_of(const Graph& graph) {
  std::vector<ValueId> storages(graph.values().size());
  for (ValueId id = 0; id < storages.size(); ++id) {
    const Node* producer = graph.producer(id);
    storages[id] = producer != nullptr && producer->op->name == kReshape ? storages[producer->inputs[0]] : id;
  }
  return storages;
}

Schedule schedule(const Graph& graph, const std::vector<ValueId>& storages) {
  const std::span<const Node> nodes = graph.nodes();
  Dependencies dependencies(graph);
  Schedule result;
  std::vector<std::vector<std::uint32_t>> readers(graph.values().size());  // by storage
  if (!graph.donations().empty()) {
    for (std::uint32_t node = 0; node < nodes.size(); ++node) {
      for (const ValueId input : nodes[node].inputs) readers[storages[input]].push_back(node);
    }
  }
  for (const Donation& donation : graph.donations()) {
    const ValueId input = graph.inputs()[donation.input].value;
    const std::uint32_t writer = graph.values()[storages[graph.outputs()[donation.output].value]].producer;
    if (writer == kNoNode) {
      result.direct.push_back(false);
      continue;
    }
    std::vector<bool> targets(nodes.size(), false);
    bool any = false;
    for (const std::uint32_t reader : readers[input]) {
      if (reader == writer) continue;
      targets[reader] = true;
      any = true;
    }
    const bool direct = !any || !dependencies.reaches(writer, targets);
    if (direct) {
      for (const std::uint32_t reader : readers[input]) {
        if (reader != writer) dependencies.add(reader, writer);
      }
    }
    result.direct.push_back(direct);
  }
  result.order = dependencies.order();
  return result;
}

}  // namespace ml::runtime
