// Computing recorded tensors: structure -> program -> execution -> stored values.
#pragma once

#include <memory>
#include <span>

#include "engine/graph/graph.h"
#include "libmlclient/session/session_core.h"
#include "libmlclient/tensor/call.h"

namespace ml::client {

// Starts computing every tensor that is recorded; they are stored ones from then on. Null when there was nothing to do.
std::shared_ptr<Pending> start_evaluation(std::span<const Tensor> tensors);
// The same, and waits.
void evaluate(std::span<const Tensor> tensors);

// Sends a graph to the worker. Throws what it says about it.
// Blobs of the graph that `placed` holds already are named there; others are copied to arena memory for the
// compilation.
struct PlacedBlob {
  const Blob* blob;
  std::uint32_t arena;
  std::uint64_t offset;
};
std::shared_ptr<Program> compile(const std::shared_ptr<SessionCore>& session,
                                 const std::shared_ptr<Connection>& connection, const Graph& graph,
                                 std::span<const PlacedBlob> placed = {});

// Makes sure that a value is stored (or a scalar) and waits until its elements are there.
void materialize(const TensorValuePtr& value);
// Arena memory with the elements of a value, which must be materialized; copies what lies on the device.
std::shared_ptr<Storage> host_storage(const TensorValuePtr& value);
// A tensor of uninitialized arena memory that the caller fills through `host`.
Tensor new_host_tensor(const TensorType& type, std::byte** host);

}  // namespace ml::client
