#include "engine/runtime/kernel_request.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <vector>

namespace ml::runtime {

namespace {

Layout layout_of(const Shape& shape, const passes::DimOrder& order) {
  return order.empty() ? row_major(shape) : permuted(shape, order);
}

// The order of a dense layout; empty when it is row-major.
passes::DimOrder order_of(const Shape& shape, const Layout& layout) {
  if (layout == row_major(shape)) return {};
  passes::DimOrder order(layout.strides.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, [&layout](int a, int b) {
    return layout.strides[static_cast<std::size_t>(a)] > layout.strides[static_cast<std::size_t>(b)];
  });
  return order;
}

// The first row that takes a row-major request, or would in the layouts that it prefers, which the request has then.
const Implementation* row_for(const Device& device, KernelRequest& request) {
  for (const Implementation& row : device.implementations()) {
    if (row.op != request.op.name) continue;
    const char* const why = row.refuse == nullptr ? nullptr : row.refuse(request);
    if (why != nullptr && (why != refusal::kLayout || row.prefer == nullptr)) continue;
    if (row.prefer == nullptr) return &row;
    std::vector<Layout> inputs(request.inputs.size()), outputs(request.outputs.size());
    row.prefer(request, inputs, outputs);
    KernelRequest wanted = request;
    for (std::size_t i = 0; i < inputs.size(); ++i) wanted.inputs[i].layout = inputs[i];
    for (std::size_t i = 0; i < outputs.size(); ++i) wanted.outputs[i].layout = outputs[i];
    if (row.refuse == nullptr || row.refuse(wanted) == nullptr) {
      request.inputs = std::move(wanted.inputs);
      request.outputs = std::move(wanted.outputs);
      return &row;
    }
    if (why == nullptr) return &row;
  }
  return nullptr;
}

}  // namespace

KernelRequest request_for(const Graph& graph, const Node& node, std::span<const std::uint32_t> uses,
                          std::span<const passes::DimOrder> orders) {
  static const passes::DimOrder kRowMajor;
  const auto layout = [&](ValueId id) {
    return layout_of(graph.type(id).shape, orders.empty() ? kRowMajor : orders[id]);
  };
  KernelRequest request{*node.op, node.attributes, {}, {}};
  request.inputs.reserve(node.inputs.size());
  request.outputs.reserve(node.output_count);
  for (const ValueId id : node.inputs) {
    request.inputs.push_back({graph.type(id), layout(id), graph.constant(id), true});
  }
  for (std::uint32_t i = 0; i < node.output_count; ++i) {
    const ValueId id = node.output(i);
    request.outputs.push_back({graph.type(id), layout(id), nullptr, uses.empty() || uses[id] != 0});
  }
  return request;
}

passes::Prefer preferred_orders(const Device& device) {
  return [&device](const Graph& graph, const Node& node) -> std::optional<passes::PreferredOrders> {
    const auto prefers = [&node](const Implementation& row) {
      return row.op == node.op->name && row.prefer != nullptr;
    };
    if (std::ranges::none_of(device.implementations(), prefers)) return std::nullopt;
    for (std::uint32_t i = 0; i < node.output_count; ++i) {
      if (graph.type(node.output(i)).shape.elements() == 0) return std::nullopt;  // it does not run
    }
    KernelRequest request = request_for(graph, node, {});
    const Implementation* row = row_for(device, request);
    if (row == nullptr || row->prefer == nullptr) return std::nullopt;
    passes::PreferredOrders orders;
    for (const Operand& operand : request.inputs) orders.inputs.push_back(order_of(operand.type.shape, operand.layout));
    for (const Operand& operand : request.outputs)
      orders.outputs.push_back(order_of(operand.type.shape, operand.layout));
    return orders;
  };
}

bool has_rows_for(const Device& device, std::string_view op) {
  return std::ranges::any_of(device.implementations(), [op](const Implementation& row) { return row.op == op; });
}

passes::KeepRule keep_what_runs_on(const Device& device) {
  return [&device](const Graph& graph, const Node& node) {
    if (!has_rows_for(device, node.op->name)) return false;
    // Only a choice between outputs needs to know which are read.
    KernelRequest request =
        request_for(graph, node, node.output_count > 1 ? use_counts(graph) : std::vector<std::uint32_t>{});
    return row_for(device, request) != nullptr;
  };
}

}  // namespace ml::runtime
