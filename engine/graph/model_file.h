// The file of a model: a header, the graph's FlatBuffer and the blobs that it refers to, each 64-byte aligned.
//
//   0   "mlmodel\n"
//   8   u32 version (1), u32 number of blobs
//   16  u64 offset, u64 bytes of the graph
//   32  u64 bytes of the whole file
//   40  per blob: u64 offset, u64 bytes
//
// Numbers are little-endian. Blobs are used where they lie in the mapped file.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "engine/graph/graph.h"

namespace ml {

// `bytes` may come from anywhere, but don't change while the graph lives; `owner` keeps them mapped as long as a blob
// is used. `name` is the file's, for messages. Throws corrupt (naming what is wrong and where), unsupported (another
// version), or what verify() throws.
Graph parse_model(std::span<const std::byte> bytes, const std::shared_ptr<const void>& owner, const std::string& name);

// Hands the file to `write`, part by part from its beginning.
void write_model(const Graph& graph, const std::function<void(std::span<const std::byte>)>& write);

}  // namespace ml
