#include "libmlclient/model/model_data.h"

#include <algorithm>

#include "libmlclient/tensor/evaluate.h"

namespace ml {
namespace {

constexpr std::size_t kShapesRemembered = 256;

// A mapped file that descriptors may name for the time of a compilation, where the worker can be shown one.
class FileArena {
 public:
  FileArena(client::Connection& connection, const std::shared_ptr<files::MappedFile>& file)
      : connection_(connection), id_(connection.transport().add_file(file->bytes(), file)) {}
  ~FileArena() {
    if (id_) connection_.transport().remove_arena(*id_);
  }
  FileArena(const FileArena&) = delete;
  FileArena& operator=(const FileArena&) = delete;
  const std::optional<std::uint32_t>& id() const { return id_; }

 private:
  client::Connection& connection_;
  std::optional<std::uint32_t> id_;
};

}  // namespace

Model::Data::Data(Graph from, std::vector<std::shared_ptr<files::MappedFile>> mapped)
    : graph(std::move(from)), files(std::move(mapped)) {
  for (const GraphInput& input : graph.inputs()) {
    const TensorType& type = graph.type(input.value);
    inputs.push_back({input.name, type.dtype, type.shape, input.symbols});
  }
  for (const GraphOutput& output : graph.outputs()) {
    const TensorType& type = graph.type(output.value);
    outputs.push_back({output.name, type.dtype, type.shape, {}});
  }
}

std::shared_ptr<client::Program> Model::Data::program(const std::shared_ptr<client::SessionCore>& session,
                                                      const std::shared_ptr<client::Connection>& connection) {
  const std::lock_guard lock(mutex_);
  if (program_ && program_->is_of(connection)) return program_;
  if (reference_.empty())
    program_ = compile(session, connection);
  else
    program_ = std::make_shared<client::Program>(connection, connection->transport().open_model(reference_).program);
  return program_;
}

void Model::Data::registered_as(std::string reference, std::shared_ptr<client::Program> program) {
  reference_ = std::move(reference);
  program_ = std::move(program);
}

std::shared_ptr<client::Program> Model::Data::compile(const std::shared_ptr<client::SessionCore>& session,
                                                      const std::shared_ptr<client::Connection>& connection) {
  std::map<const files::MappedFile*, FileArena> arenas;
  std::vector<client::PlacedBlob> placed;
  for (const Node& node : graph.nodes()) {
    if (node.op->kind != OpKind::constant) continue;
    const Blob* const blob = node.as<ConstantAttributes>().value->blob.get();
    const auto file = std::ranges::find_if(files, [&](const auto& mapped) { return mapped->holds(blob->bytes()); });
    if (file == files.end()) continue;
    const FileArena& arena = arenas.try_emplace(file->get(), *connection, *file).first->second;
    // A worker in another process gets copies of the blobs.
    if (!arena.id()) break;
    placed.push_back({blob, *arena.id(), static_cast<std::uint64_t>(blob->bytes().data() - (*file)->base())});
  }
  return client::compile(session, connection, graph, placed);
}

std::vector<std::uint64_t> Model::Data::known_sizes(const std::vector<std::int64_t>& key) {
  const std::lock_guard lock(mutex_);
  const auto at = sizes_.find(key);
  return at != sizes_.end() ? at->second : std::vector<std::uint64_t>(outputs.size(), 0);
}

void Model::Data::remember_sizes(const std::vector<std::int64_t>& key, std::vector<std::uint64_t> sizes) {
  const std::lock_guard lock(mutex_);
  if (sizes_.size() >= kShapesRemembered) sizes_.clear();
  sizes_.insert_or_assign(key, std::move(sizes));
}

}  // namespace ml
