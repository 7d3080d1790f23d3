#include "libmlclient/model/model_file.h"

#include "engine/graph/model_file.h"
#include "libmlclient/files/atomic_file.h"

namespace ml::client {

LoadedModel read_model_file(const std::string& path) {
  auto file = std::make_shared<files::MappedFile>(path);
  Graph graph = parse_model(file->bytes(), file, path);
  return {std::move(graph), std::move(file)};
}

void write_model_file(const std::string& path, const Graph& graph) {
  files::AtomicFile file(path);
  write_model(graph, [&file](std::span<const std::byte> bytes) { file.write(bytes); });
  file.commit();
}

}  // namespace ml::client
