// Where a model's bytes lie: in its own file, in the libraries of its functions, and in the files that its tensors
// name.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/formats/onnx/import.h"

namespace ml::onnx {

namespace pb {
class Tensor;
}

// Bytes of a tensor as they are stored.
struct Place {
  std::shared_ptr<const Blob> file;
  std::uint64_t offset = 0, length = 0;
};

class Files {
 public:
  explicit Files(std::shared_ptr<const Blob> model, const ImportOptions& options = {});

  std::span<const FunctionLibrary> libraries() const { return libraries_; }
  // By the number that a tensor has as its `source`: 0 is the model's own, those of libraries() follow.
  const std::shared_ptr<const Blob>& file(std::size_t source) const;
  std::uint64_t size() const;  // bytes of all these

  // The raw_data of a tensor that lift_tensors() left in its file.
  Place lifted(const pb::Tensor& tensor) const;
  // The data of a tensor whose data_location is EXTERNAL; `wanted` bytes where it does not say a length. Each file is
  // opened once. Throws unsupported where no other file can be opened and for a library's tensors, denied for a
  // location that is no path below the model's folder, corrupt for what is no place in the file, and what opening the
  // file throws.
  Place outside(const pb::Tensor& tensor, std::uint64_t wanted, const std::string& where);

 private:
  std::shared_ptr<const Blob> open(const std::string& location, const std::string& where);

  std::shared_ptr<const Blob> model_;
  std::vector<FunctionLibrary> libraries_;
  OpenFile open_;
  std::map<std::string, std::shared_ptr<const Blob>> opened_;
};

}  // namespace ml::onnx
