// What ml::OnnxOptions say, in the words of the engine's C door.
#pragma once

#include <cstddef>
#include <list>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/formats/embedded_formats.h"
#include "libmlclient/files/mapped_file.h"
#include "ml/model.h"

namespace ml {

// The door's structs point into it and into the options it is made of. Tensors are computed.
class DoorOptions {
 public:
  // `libraries` are the files of options.functions, mapped. Throws invalid_argument for an input that has a value and a
  // form.
  DoorOptions(const OnnxOptions& options, std::span<const std::shared_ptr<files::MappedFile>> libraries);
  DoorOptions(const DoorOptions&) = delete;
  DoorOptions& operator=(const DoorOptions&) = delete;

  void put_into(mlengine_onnx_options& options) const;

 private:
  void add(const std::string& name, const OnnxInput& input);

  std::list<std::vector<mlengine_shape>> shapes_;
  std::list<std::vector<std::byte>> values_;
  std::vector<mlengine_onnx_input> inputs_;
  std::vector<mlengine_onnx_library> libraries_;
};

}  // namespace ml
