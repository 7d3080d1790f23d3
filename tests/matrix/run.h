// Running one kernel, or a graph node by node: what the matrix compares, without plans in between.
#pragma once

#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "engine/backends/backend.h"
#include "engine/runtime/evaluate.h"

namespace ml::test {

// A device with one stream on it.
struct Target {
  explicit Target(std::unique_ptr<Device> made) : device(std::move(made)), stream(device->create_stream()) {}
  std::unique_ptr<Device> device;
  std::unique_ptr<Stream> stream;
};

struct Result {
  std::vector<HostTensor> outputs;  // without bytes where the request says unused
  bool index_error = false;
};

inline constexpr std::size_t kNone = ~std::size_t{0};
// Input and output that share their memory.
struct InPlace {
  std::size_t input = kNone, output = kNone;
};

// Operands are brought into the request's layouts and back. Throws internal when the kernel writes beside an output.
Result run_kernel(Target& target, const Implementation& row, const KernelRequest& request,
                  std::span<const HostTensor> inputs, InPlace shared = {});

// An op alone in a graph. Inputs that are known are constants, the others inputs; shape arithmetic is resolved.
Graph graph_of(const Op& op, const AttributesPtr& attributes, std::span<const HostTensor> inputs,
               const std::vector<bool>& known);

// Every node by the first row that takes it, row-major; composites without one by their decomposition, loops turn by
// turn. The graph is bound and has no other control rows.
Result run_graph(Target& target, const Graph& graph, std::span<const HostTensor> inputs);

}  // namespace ml::test
