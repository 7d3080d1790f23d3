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

#include <memory>
#include <string>

#include "engine/graph/graph.h"
#include "libmlclient/files/mapped_file.h"

namespace ml::client {

struct LoadedModel {
  Graph graph;
  std::shared_ptr<files::MappedFile> file;
};

// Throws not_found, io, corrupt (naming what is wrong and where) or unsupported (another version).
LoadedModel read_model_file(const std::string& path);
// Atomically.
void write_model_file(const std::string& path, const Graph& graph);

}  // namespace ml::client
