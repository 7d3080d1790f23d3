// ONNX files: the engine reads and writes them, behind its C door.
#include <algorithm>
#include <cstring>

#include "engine/formats/embedded_formats.h"
#include "engine/graph/binary.h"
#include "libmlclient/files/atomic_file.h"
#include "libmlclient/files/mapped_file.h"
#include "libmlclient/model/model_data.h"
#include "libmlclient/transport/engine_library.h"
#include "ml/model.h"

namespace ml {
namespace {

// Collects what the importer answers. Blobs that lie in the mapped file stay there.
struct Imported {
  std::shared_ptr<files::MappedFile> file;
  std::vector<std::byte> graph;
  std::vector<std::shared_ptr<const Blob>> blobs;

  void add_blob(std::span<const std::byte> bytes) {
    const bool inside =
        bytes.data() >= file->base() && bytes.data() + bytes.size() <= file->base() + file->bytes().size();
    if (inside)
      blobs.push_back(
          std::make_shared<const Blob>(bytes, file, file->path() + "@" + std::to_string(bytes.data() - file->base())));
    else
      blobs.push_back(Blob::copy_of(bytes));
  }
};

// Callbacks of the C door throw nothing; what went wrong waits here.
struct Written {
  files::AtomicFile& file;
  std::exception_ptr error;
};

}  // namespace

Model load_onnx(const std::string& path) {
  const auto& library = transport::EngineLibrary::instance();
  const auto import = reinterpret_cast<decltype(&mlengine_onnx_import)>(library.symbol("mlengine_onnx_import"));
  Imported imported{std::make_shared<files::MappedFile>(path), {}, {}};
  const std::span<const std::byte> bytes = imported.file->bytes();
  const auto take_graph = [](void* context, const void* data, std::uint64_t size) noexcept -> std::int32_t {
    const auto* at = static_cast<const std::byte*>(data);
    static_cast<Imported*>(context)->graph.assign(at, at + size);
    return 0;
  };
  const auto take_blob = [](void* context, const void* data, std::uint64_t size) noexcept -> std::int32_t {
    static_cast<Imported*>(context)->add_blob({static_cast<const std::byte*>(data), static_cast<std::size_t>(size)});
    return 0;
  };
  try {
    library.check(import(bytes.data(), bytes.size(), take_graph, take_blob, &imported));
    return Model(std::make_shared<Model::Data>(deserialize(imported.graph, imported.blobs), imported.file));
  } catch (const Error& error) {
    throw error.within("'" + path + "'");
  }
}

void save_onnx(const Model& model, const std::string& path) {
  const auto& library = transport::EngineLibrary::instance();
  const auto write = reinterpret_cast<decltype(&mlengine_onnx_export)>(library.symbol("mlengine_onnx_export"));
  const BinaryGraph binary = serialize(model.data()->graph);
  std::vector<mlengine_bytes> blobs;
  for (const auto& blob : binary.blobs) blobs.push_back({blob->bytes().data(), blob->bytes().size()});
  files::AtomicFile file(path);
  Written written{file, nullptr};
  const auto sink = [](void* context, const void* data, std::uint64_t size) noexcept -> std::int32_t {
    auto& to = *static_cast<Written*>(context);
    try {
      to.file.write({static_cast<const std::byte*>(data), static_cast<std::size_t>(size)});
      return 0;
    } catch (...) {
      to.error = std::current_exception();
      return -1;
    }
  };
  const std::int32_t code = write(binary.bytes.data(), binary.bytes.size(), blobs.data(),
                                  static_cast<std::uint32_t>(blobs.size()), sink, &written);
  if (written.error) std::rethrow_exception(written.error);
  library.check(code);
  file.commit();
}

}  // namespace ml
