#include "engine/runtime/estimate.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "engine/graph/binary.h"
#include "engine/passes/passes.h"
#include "engine/runtime/devices.h"
#include "engine/runtime/door.h"
#include "engine/runtime/staged_plan.h"
#include "ml/error.h"

namespace ml::runtime {
namespace {

struct Estimate {
  std::uint64_t scratch, resident;
};

Estimate estimate(const Graph& given, Device& device) {
  const passes::Evaluate evaluate = reference_evaluate();
  const Graph graph = passes::simplify(given, evaluate);
  std::vector<Shape> shapes;
  for (const GraphInput& input : graph.inputs()) {
    const TensorType& type = graph.type(input.value);
    if (!type.shape.known()) {
      throw Error(Code::invalid_argument, "input '" + input.name + "' is " + type.shape.str(), {},
                  "only a program whose shapes are all known has one plan");
    }
    shapes.push_back(type.shape);
  }
  ProgramResources resources(device);
  const auto plan = make_staged_plan(passes::bind(graph, shapes, evaluate), resources, {evaluate});
  return {plan->scratch_bytes(), resources.packs().bytes()};
}

}  // namespace
}  // namespace ml::runtime

extern "C" int32_t mlengine_estimate(const struct mlengine_worker_options* options, const void* graph,
                                     uint64_t graph_bytes, const struct mlengine_bytes* blobs, uint32_t blob_count,
                                     struct mlengine_estimate_info* info) {
  using namespace ml::runtime;
  return guarded([&] {
    mlengine_worker_options wanted{};
    if (options != nullptr) std::memcpy(&wanted, options, std::min<std::size_t>(options->size, sizeof wanted));
    if (info->size < sizeof(info->size)) {
      throw ml::Error(ml::Code::invalid_argument, "a struct's size is " + std::to_string(info->size), {},
                      "set it to sizeof of the struct");
    }
    std::vector<std::shared_ptr<const ml::Blob>> copies;
    mlengine_estimate_info answer{};
    for (const mlengine_bytes& blob : std::span(blobs, blob_count)) {
      copies.push_back(ml::Blob::copy_of({static_cast<const std::byte*>(blob.data), blob.bytes}));
      answer.resident_bytes += blob.bytes;
    }
    const ml::Graph known = ml::deserialize({static_cast<const std::byte*>(graph), graph_bytes}, copies);
    const int threads = wanted.threads != 0 ? static_cast<int>(wanted.threads) : usable_cpus();
    const std::unique_ptr<ml::Device> device = create_device(wanted.device != nullptr ? wanted.device : "cpu", threads);
    const Estimate needed = estimate(known, *device);
    answer.scratch_bytes = needed.scratch;
    answer.resident_bytes += needed.resident;
    answer.size = info->size;
    std::memcpy(static_cast<void*>(info), &answer, std::min<std::size_t>(info->size, sizeof answer));
  });
}
