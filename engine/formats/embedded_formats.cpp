#include "engine/formats/embedded_formats.h"

#include <memory>
#include <string>
#include <vector>

#include "engine/formats/onnx/export.h"
#include "engine/formats/onnx/import.h"
#include "engine/graph/binary.h"
#include "engine/runtime/door.h"
#include "engine/runtime/resources.h"
#include "ml/error.h"

namespace {

std::span<const std::byte> bytes_at(const void* data, uint64_t bytes) {
  return {static_cast<const std::byte*>(data), static_cast<std::size_t>(bytes)};
}

void hand_over(mlengine_receive receive, void* context, std::span<const std::byte> bytes) {
  if (receive(context, bytes.data(), bytes.size()) != 0)
    throw ml::Error(ml::Code::cancelled, "the receiver did not want the rest");
}

ml::onnx::ImportOptions options_of(const mlengine_onnx_options& from, void* context) {
  ml::onnx::ImportOptions options;
  if (from.open_file == nullptr) return options;
  options.open = [open = from.open_file, context](const std::string& location) {
    mlengine_bytes file{nullptr, 0};
    if (open(context, location.c_str(), &file) != 0)
      throw ml::Error(ml::Code::cancelled, "'" + location + "' was not opened");
    return std::make_shared<const ml::Blob>(bytes_at(file.data, file.bytes), nullptr, "onnx data '" + location + "'");
  };
  return options;
}

}  // namespace

extern "C" {

int32_t mlengine_onnx_import(const void* file, uint64_t bytes, const mlengine_onnx_options* options,
                             mlengine_receive graph, mlengine_receive blob, void* context) {
  return ml::runtime::guarded([&] {
    const auto known = ml::runtime::read_options(options);
    const auto whole = std::make_shared<const ml::Blob>(bytes_at(file, bytes), nullptr, "onnx");
    const ml::BinaryGraph binary =
        ml::serialize(ml::onnx::import_model(whole, ml::runtime::reference_evaluate(), options_of(known, context)));
    hand_over(graph, context, binary.bytes);
    for (const auto& used : binary.blobs) hand_over(blob, context, used->bytes());
  });
}

int32_t mlengine_onnx_export(const void* graph, uint64_t graph_bytes, const mlengine_bytes* blobs, uint32_t blob_count,
                             mlengine_receive write, void* context) {
  return ml::runtime::guarded([&] {
    std::vector<std::shared_ptr<const ml::Blob>> shared;
    for (uint32_t i = 0; i < blob_count; ++i) {
      shared.push_back(std::make_shared<const ml::Blob>(bytes_at(blobs[i].data, blobs[i].bytes), nullptr,
                                                        "blob " + std::to_string(i)));
    }
    ml::onnx::export_model(ml::deserialize(bytes_at(graph, graph_bytes), shared),
                           [&](std::span<const std::byte> piece) { hand_over(write, context, piece); });
  });
}

}  // extern "C"
