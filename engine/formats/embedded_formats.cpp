#include "engine/formats/embedded_formats.h"

#include <memory>
#include <string>
#include <vector>

#include "engine/formats/onnx/export.h"
#include "engine/formats/onnx/import.h"
#include "engine/graph/binary.h"
#include "engine/graph/limits.h"
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

[[noreturn]] void refuse(const std::string& what) { throw ml::Error(ml::Code::invalid_argument, what); }

std::string text_at(const char* text, const char* what) {
  if (text == nullptr) refuse(std::string(what) + " is null");
  return text;
}

template <class T>
std::span<const T> array_at(const T* first, uint64_t count, const char* what) {
  if (first == nullptr && count != 0) refuse(std::string(what) + ": " + std::to_string(count) + " of them at null");
  return {first, static_cast<std::size_t>(count)};
}

std::span<const std::byte> checked_bytes(const mlengine_bytes& bytes, const char* what) {
  return array_at(static_cast<const std::byte*>(bytes.data), bytes.bytes, what);
}

ml::Shape shape_of(const mlengine_shape& shape) {
  if (shape.rank > MLRING_RANK_MAX)
    refuse("a shape of rank " + std::to_string(shape.rank) + ", " + std::to_string(MLRING_RANK_MAX) + " is the most");
  return ml::Shape(std::span<const std::int64_t>(shape.dims, shape.rank));
}

ml::ConstantPtr value_of(const mlengine_onnx_input& input, const ml::onnx::InputForm& form) {
  if (!ml::is_dtype(input.value_dtype)) refuse("its value's dtype is " + std::to_string(input.value_dtype));
  if (!form.present || form.shapes.size() != 1 || !form.shapes[0].known())
    refuse("a value is present and has one shape, all of it known");
  const ml::TensorType type{static_cast<ml::DType>(input.value_dtype), form.shapes[0]};
  ml::check_type(type);
  const auto blob = std::make_shared<const ml::Blob>(checked_bytes(input.value, "bytes of its value"), nullptr,
                                                     "onnx value of '" + std::string(input.name) + "'");
  ml::ConstantData value{type.dtype, type.shape, blob, 0};
  if (value.length() != blob->size()) {
    refuse("its value " + std::string(dtype_name(type.dtype)) + type.shape.str() + " needs " +
           std::to_string(value.length()) + " bytes, there are " + std::to_string(blob->size()));
  }
  return std::make_shared<const ml::ConstantData>(std::move(value));
}

void add_input(ml::onnx::ImportOptions& options, const mlengine_onnx_input& input) {
  const std::string name = text_at(input.name, "an input's name");
  try {
    ml::onnx::InputForm form{input.absent == 0, {}};
    for (const mlengine_shape& shape : array_at(input.shapes, input.shape_count, "shapes"))
      form.shapes.push_back(shape_of(shape));
    if (options.forms.contains(name) || options.values.contains(name)) refuse("it is there twice");
    if (input.value_dtype != 0)
      options.values[name] = value_of(input, form);
    else
      options.forms[name] = std::move(form);
  } catch (const ml::Error& error) {
    throw error.within("input '" + name + "'");
  }
}

void add_library(ml::onnx::ImportOptions& options, const mlengine_onnx_library& library) {
  const auto file = std::make_shared<const ml::Blob>(checked_bytes(library.file, "bytes of a library"), nullptr,
                                                     "onnx library " + std::to_string(options.functions.size()));
  options.functions.push_back({text_at(library.name, "a library's name"), file});
}

ml::onnx::ImportOptions options_of(const mlengine_onnx_options& from, void* context) {
  ml::onnx::ImportOptions options;
  for (const mlengine_onnx_input& input : array_at(from.inputs, from.input_count, "inputs")) add_input(options, input);
  for (const mlengine_onnx_library& library : array_at(from.libraries, from.library_count, "libraries"))
    add_library(options, library);
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
