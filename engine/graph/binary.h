// The binary form of a graph (graph.fbs): what travels over the ring and lies on disk.
//
// Constants up to 4 KiB are inline; larger ones refer to a blob by its place in `blobs`, an offset and a length.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "engine/graph/graph.h"

namespace ml {

struct BinaryGraph {
  std::vector<std::byte> bytes;
  std::vector<std::shared_ptr<const Blob>> blobs;  // in the order the bytes refer to them
};
BinaryGraph serialize(const Graph& graph);

// Bytes from anywhere: verified as a FlatBuffer (depth and size limited), then as a graph. `bytes` may change or go
// away after the call (callers with a hostile writer pass a private copy). Throws corrupt or what verify() throws.
Graph deserialize(std::span<const std::byte> bytes, std::span<const std::shared_ptr<const Blob>> blobs);

}  // namespace ml
