#include "engine/runtime/kernel_request.h"

#include <algorithm>
#include <vector>

namespace ml::runtime {

KernelRequest request_for(const Graph& graph, const Node& node, std::span<const std::uint32_t> uses) {
  KernelRequest request{*node.op, node.attributes, {}, {}};
  request.inputs.reserve(node.inputs.size());
  request.outputs.reserve(node.output_count);
  for (const ValueId id : node.inputs) {
    const TensorType& type = graph.type(id);
    request.inputs.push_back({type, row_major(type.shape), graph.constant(id), true});
  }
  for (std::uint32_t i = 0; i < node.output_count; ++i) {
    const TensorType& type = graph.type(node.output(i));
    request.outputs.push_back({type, row_major(type.shape), nullptr, uses[node.output(i)] != 0});
  }
  return request;
}

bool has_rows_for(const Device& device, std::string_view op) {
  return std::ranges::any_of(device.implementations(), [op](const Implementation& row) { return row.op == op; });
}

passes::KeepRule keep_what_runs_on(const Device& device) {
  return [&device](const Graph& graph, const Node& node) {
    if (!has_rows_for(device, node.op->name)) return false;
    // Only a choice between outputs needs to know which are read.
    const std::vector<std::uint32_t> uses =
        node.output_count > 1 ? use_counts(graph) : std::vector<std::uint32_t>(graph.values().size(), 1);
    return implements(device, request_for(graph, node, uses));
  };
}

}  // namespace ml::runtime
