// ONNX files: the engine reads and writes them, behind its C door.
#include <algorithm>
#include <cstring>

#include "engine/formats/embedded_formats.h"
#include "engine/graph/binary.h"
#include "libmlclient/files/atomic_file.h"
#include "libmlclient/files/mapped_file.h"
#include "libmlclient/files/model_folder.h"
#include "libmlclient/model/model_data.h"
#include "libmlclient/model/onnx_options.h"
#include "libmlclient/transport/engine_library.h"
#include "ml/model.h"

namespace ml {
namespace {

// What the importer asks for and answers. Blobs that lie in a mapped file stay there.
struct Imported {
  std::vector<std::shared_ptr<files::MappedFile>> files;
  std::vector<std::byte> graph;
  std::vector<std::shared_ptr<const Blob>> blobs;
  files::ModelFolder folder;
  std::exception_ptr error;  // callbacks of the C door throw nothing; what went wrong waits here

  void add_blob(std::span<const std::byte> bytes) {
    const auto around = std::ranges::find_if(files, [&](const auto& file) { return file->holds(bytes); });
    if (around == files.end()) return blobs.push_back(Blob::copy_of(bytes));
    const std::string place = (*around)->path() + "@" + std::to_string(bytes.data() - (*around)->base());
    blobs.push_back(std::make_shared<const Blob>(bytes, *around, place));
  }
};

// As above.
struct Written {
  files::AtomicFile& file;
  std::exception_ptr error;
};

}  // namespace

Model load_onnx(const std::string& path, const OnnxOptions& wanted) {
  const auto& library = transport::EngineLibrary::instance();
  const auto import = reinterpret_cast<decltype(&mlengine_onnx_import)>(library.symbol("mlengine_onnx_import"));
  Imported imported{{std::make_shared<files::MappedFile>(path)}, {}, {}, files::ModelFolder(path), nullptr};
  for (const std::string& library_path : wanted.functions)
    imported.files.push_back(std::make_shared<files::MappedFile>(library_path));
  const std::span<const std::byte> bytes = imported.files.front()->bytes();
  mlengine_onnx_options options{};
  options.size = sizeof options;
  options.open_file = [](void* context, const char* location, mlengine_bytes* answer) noexcept -> std::int32_t {
    auto& to = *static_cast<Imported*>(context);
    try {
      const auto& file = to.files.emplace_back(to.folder.map(location));
      *answer = {file->base(), file->bytes().size()};
      return 0;
    } catch (...) {
      to.error = std::current_exception();
      return -1;
    }
  };
  const DoorOptions said(wanted, std::span(imported.files).subspan(1));
  said.put_into(options);
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
    const std::int32_t code = import(bytes.data(), bytes.size(), &options, take_graph, take_blob, &imported);
    if (imported.error) std::rethrow_exception(imported.error);
    library.check(code);
    return Model(std::make_shared<Model::Data>(deserialize(imported.graph, imported.blobs), std::move(imported.files)));
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
