// Running a graph once, from host memory to host memory: what tests, folding and tools use.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "engine/backends/backend.h"
#include "engine/graph/graph.h"
#include "engine/runtime/staged_plan.h"

namespace ml {

// A dense row-major tensor in host memory.
struct HostTensor {
  DType dtype = DType::f32;
  Shape shape;
  std::vector<std::byte> bytes;
};

// Binds the graph to the inputs' shapes, makes a plan for the device and runs it. Donated inputs are copied first, so
// `inputs` stay as they are. Throws what binding and planning throw, and out_of_range when an index held by a tensor
// was out of range.
std::vector<HostTensor> evaluate(const Graph& graph, Device& device, std::span<const HostTensor> inputs);

namespace runtime {

// Uploads, runs and downloads.
std::vector<HostTensor> run_plan(const StagedPlan& plan, StreamContext& context, std::span<const HostTensor> inputs);

}  // namespace runtime
}  // namespace ml
