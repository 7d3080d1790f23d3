// Asking a device for a node's kernel.
#pragma once

#include "engine/backends/backend.h"
#include "engine/passes/passes.h"

namespace ml::runtime {

// The request for `node`; `uses` as use_counts() answers (empty: every output is read), `orders` as assign_layouts()
// does (empty: row-major).
KernelRequest request_for(const Graph& graph, const Node& node, std::span<const std::uint32_t> uses,
                          std::span<const passes::DimOrder> orders = {});
// Keeps the composites that `device` has a kernel for.
passes::KeepRule keep_what_runs_on(const Device& device);
// What the kernels that `device` chooses would like.
passes::Prefer preferred_orders(const Device& device);
bool has_rows_for(const Device& device, std::string_view op);

}  // namespace ml::runtime
