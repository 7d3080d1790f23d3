// What stands behind ml::Model.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/graph/graph.h"
#include "libmlclient/files/mapped_file.h"
#include "libmlclient/session/session_core.h"
#include "ml/model.h"

namespace ml {

struct Model::Data {
  explicit Data(Graph from, std::vector<std::shared_ptr<files::MappedFile>> mapped = {});

  // Compiled, or opened from the registry, when the connection has none yet.
  std::shared_ptr<client::Program> program(const std::shared_ptr<client::SessionCore>& session,
                                           const std::shared_ptr<client::Connection>& connection);
  // Bytes of each output for inputs of these shapes, as far as they are known.
  std::vector<std::uint64_t> known_sizes(const std::vector<std::int64_t>& key);
  void remember_sizes(const std::vector<std::int64_t>& key, std::vector<std::uint64_t> sizes);

  Graph graph;
  std::vector<std::shared_ptr<files::MappedFile>> files;  // what blobs lie in; none for a model made in this process
  std::vector<ModelPort> inputs, outputs;

  // Of a model of the registry: names exactly this version, and is its program in one connection. Before it is used.
  void registered_as(std::string reference, std::shared_ptr<client::Program> program);

 private:
  std::shared_ptr<client::Program> compile(const std::shared_ptr<client::SessionCore>& session,
                                           const std::shared_ptr<client::Connection>& connection);

  std::string reference_;  // empty: compiled from the graph
  std::mutex mutex_;
  std::shared_ptr<client::Program> program_;
  std::map<std::vector<std::int64_t>, std::vector<std::uint64_t>> sizes_;
};

}  // namespace ml
