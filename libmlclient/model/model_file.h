// Models in files (engine/graph/model_file.h has the format).
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
