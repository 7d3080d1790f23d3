#include "engine/formats/onnx/order.h"

#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "ml/error.h"

namespace ml::onnx {
namespace {

using Names = std::vector<std::string_view>;

void append_used(const pb::Node& node, Names& used);

// What a subgraph uses and doesn't define.
void append_used(const pb::Graph& graph, Names& used) {
  std::unordered_set<std::string_view> own;
  for (const pb::ValueInfo& input : graph.input()) own.insert(input.name());
  for (const pb::Tensor& tensor : graph.initializer()) own.insert(tensor.name());
  for (const pb::SparseTensor& tensor : graph.sparse_initializer()) own.insert(tensor.values().name());
  Names inside;
  for (const pb::Node& node : graph.node()) {
    own.insert(node.output().begin(), node.output().end());
    append_used(node, inside);
  }
  for (const pb::ValueInfo& output : graph.output()) inside.push_back(output.name());
  for (const std::string_view name : inside) {
    if (own.count(name) == 0) used.push_back(name);
  }
}

void append_used(const pb::Node& node, Names& used) {
  used.insert(used.end(), node.input().begin(), node.input().end());
  const bool gradient = node.op_type() == "Gradient";  // names what it differentiates in attributes
  for (const pb::Attribute& attribute : node.attribute()) {
    if (attribute.has_g()) append_used(attribute.g(), used);
    for (const pb::Graph& graph : attribute.graphs()) append_used(graph, used);
    if (!gradient) continue;
    if (attribute.has_s()) used.push_back(attribute.s());
    used.insert(used.end(), attribute.strings().begin(), attribute.strings().end());
  }
}

}  // namespace

std::string describe(const pb::Node& node, int index) {
  return "node " + std::to_string(index) + (node.name().empty() ? "" : " '" + node.name() + "'") + " (" +
         node.op_type() + ")";
}

std::string describe(const pb::Function& function) { return "'" + function.domain() + "." + function.name() + "'"; }

std::vector<int> order_of(const google::protobuf::RepeatedPtrField<pb::Node>& nodes) {
  std::unordered_map<std::string_view, int> producer;
  std::vector<Names> used(static_cast<std::size_t>(nodes.size()));
  for (int i = 0; i < nodes.size(); ++i) {
    append_used(nodes[i], used[static_cast<std::size_t>(i)]);
    for (const std::string& name : nodes[i].output()) {
      if (!name.empty()) producer.emplace(name, i);
    }
  }
  std::vector<int> sorted;
  std::vector<char> state(used.size(), 0);         // 1: on the stack, 2: done
  std::vector<std::pair<int, std::size_t>> stack;  // node, next name that it uses
  for (int root = 0; root < nodes.size(); ++root) {
    if (state[static_cast<std::size_t>(root)] != 0) continue;
    stack.emplace_back(root, 0);
    state[static_cast<std::size_t>(root)] = 1;
    while (!stack.empty()) {
      const auto node = static_cast<std::size_t>(stack.back().first);
      if (stack.back().second == used[node].size()) {
        state[node] = 2;
        sorted.push_back(static_cast<int>(node));
        stack.pop_back();
        continue;
      }
      const auto found = producer.find(used[node][stack.back().second++]);
      if (found == producer.end()) continue;
      char& seen = state[static_cast<std::size_t>(found->second)];
      if (seen == 1) throw Error(Code::corrupt, "the graph has a cycle", describe(nodes[found->second], found->second));
      if (seen == 0) {
        seen = 1;
        stack.emplace_back(found->second, 0);
      }
    }
  }
  return sorted;
}

}  // namespace ml::onnx
