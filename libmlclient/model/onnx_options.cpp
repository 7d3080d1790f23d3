#include "libmlclient/model/onnx_options.h"

#include <algorithm>

namespace ml {
namespace {

mlengine_shape door_shape(const Shape& shape) {
  mlengine_shape result{static_cast<std::uint32_t>(shape.rank()), 0, {}};
  std::ranges::copy(shape.dims(), result.dims);
  return result;
}

std::vector<std::byte> bytes_of(const Tensor& tensor) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(tensor.elements()) * dtype_size(tensor.dtype()));
  tensor.read(bytes);
  return bytes;
}

}  // namespace

DoorOptions::DoorOptions(const OnnxOptions& options, std::span<const std::shared_ptr<files::MappedFile>> libraries) {
  for (const auto& [name, input] : options.inputs) add(name, input);
  for (const auto& file : libraries) libraries_.push_back({file->path().c_str(), {file->base(), file->bytes().size()}});
}

void DoorOptions::add(const std::string& name, const OnnxInput& input) {
  std::vector<mlengine_shape>& shapes = shapes_.emplace_back();
  for (const Shape& shape : input.shapes) shapes.push_back(door_shape(shape));
  mlengine_onnx_input said{};
  said.name = name.c_str();
  said.absent = input.present ? 0 : 1;
  if (input.value.defined()) {
    if (!input.present || !shapes.empty())
      throw Error(Code::invalid_argument, "input '" + name + "' has a value and a form", {}, "say one of the two");
    const std::vector<std::byte>& bytes = values_.emplace_back(bytes_of(input.value));
    shapes.push_back(door_shape(input.value.shape()));
    said.value_dtype = static_cast<std::uint32_t>(input.value.dtype());
    said.value = {bytes.data(), bytes.size()};
  }
  said.shapes = shapes.data();
  said.shape_count = static_cast<std::uint32_t>(shapes.size());
  inputs_.push_back(said);
}

void DoorOptions::put_into(mlengine_onnx_options& options) const {
  options.inputs = inputs_.data();
  options.input_count = static_cast<std::uint32_t>(inputs_.size());
  options.libraries = libraries_.data();
  options.library_count = static_cast<std::uint32_t>(libraries_.size());
}

}  // namespace ml
