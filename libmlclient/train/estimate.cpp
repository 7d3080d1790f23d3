// How much device memory training needs, from the plans of its steps, before anything runs.
#include <algorithm>

#include "engine/graph/binary.h"
#include "engine/runtime/estimate.h"
#include "libmlclient/train/trainer_state.h"
#include "libmlclient/transport/engine_library.h"

namespace ml::train {
namespace {

std::uint64_t bytes_of(const TensorType& type) {
  return static_cast<std::uint64_t>(type.shape.elements()) * dtype_size(type.dtype);
}

// The types of the batches that a loader yields: full ones, and a last one that is not.
std::vector<std::vector<TensorType>> batch_types(const data::DataLoader& loader) {
  const std::int64_t size = loader.size(), full = loader.options().batch_size;
  std::vector<std::int64_t> samples;
  if (size >= full) samples.push_back(full);
  if (size % full != 0 && !loader.options().drop_last) samples.push_back(size % full);
  std::vector<std::vector<TensorType>> batches;
  for (const std::int64_t count : samples) {
    std::vector<TensorType>& batch = batches.emplace_back();
    for (const data::Field& field : loader.dataset().fields()) {
      Shape shape{count};
      for (const std::int64_t extent : field.shape.dims()) shape.append(extent);
      batch.push_back({field.dtype, shape});
    }
    if (batch.size() != 2) {
      throw Error(Code::invalid_argument, "Trainer: a batch has " + std::to_string(batch.size()) + " tensors", {},
                  "a batch is {inputs, targets}");
    }
  }
  return batches;
}

mlengine_estimate_info estimate_graph(const Graph& graph, const std::string& device, int threads) {
  const transport::EngineLibrary& engine = transport::EngineLibrary::instance();
  const auto function = reinterpret_cast<decltype(&mlengine_estimate)>(engine.symbol("mlengine_estimate"));
  const BinaryGraph binary = serialize(graph);
  std::vector<mlengine_bytes> blobs;
  for (const auto& blob : binary.blobs) blobs.push_back({blob->bytes().data(), blob->bytes().size()});
  mlengine_worker_options options{};
  options.size = sizeof options;
  options.threads = static_cast<std::uint32_t>(threads);
  options.device = device.c_str();
  mlengine_estimate_info info{};
  info.size = sizeof info;
  engine.check(function(&options, binary.bytes.data(), binary.bytes.size(), blobs.data(),
                        static_cast<std::uint32_t>(blobs.size()), &info));
  return info;
}

}  // namespace

MemoryEstimate Trainer::estimate(const data::DataLoader& loader, const data::DataLoader* validation,
                                 const std::string& device, int threads) {
  using Kind = DeviceState::Entry::Kind;
  const State& state = *state_;
  MemoryEstimate needed;
  for (const DeviceState::Entry& entry : state.device.entries()) {
    std::uint64_t& kind = entry.kind == Kind::parameter   ? needed.parameters
                          : entry.kind == Kind::optimizer ? needed.optimizer
                                                          : needed.buffers;
    kind += bytes_of(entry.type);
  }
  const auto add = [&](const data::DataLoader& of, bool training) {
    for (const std::vector<TensorType>& batch : batch_types(of)) {
      const StepTrace trace =
          trace_step({state.module, *state.optimizer, state.options.loss, state.device}, batch, training);
      const mlengine_estimate_info info = estimate_graph(trace.graph, device, threads);
      needed.scratch = std::max(needed.scratch, info.scratch_bytes);
      needed.weights += info.resident_bytes;
      needed.batch = std::max(needed.batch, 2 * (bytes_of(batch[0]) + bytes_of(batch[1])));
    }
  };
  add(loader, true);
  if (validation != nullptr) add(*validation, false);
  needed.total = needed.parameters + needed.optimizer + needed.buffers + needed.scratch + needed.weights + needed.batch;
  return needed;
}

}  // namespace ml::train
