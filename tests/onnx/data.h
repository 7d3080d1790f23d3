// ONNX's test data: a folder with model.onnx and test_data_set_N/{input,output}_K.pb.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "engine/graph/constant.h"
#include "engine/runtime/evaluate.h"

namespace ml::onnx::pb {
class Type;
}

namespace ml::onnx_test {

std::shared_ptr<const Blob> read_file(const std::filesystem::path& path);
void write_file(const std::filesystem::path& path, std::span<const std::byte> bytes);

struct NamedTensor {
  std::string name;
  HostTensor tensor;
};
// A TensorProto in a file.
NamedTensor read_tensor_file(const std::filesystem::path& path);
void write_tensor_file(const std::filesystem::path& path, const HostTensor& tensor);

// What a file holds for an input or output of some type, as the tensors that the importer makes of it.
struct FileValue {
  std::string name;     // as the file says, may be empty
  bool present = true;  // an optional: whether it holds something
  bool sequence = false;
  std::vector<HostTensor> tensors;  // one, or the elements of a sequence
};
FileValue read_value_file(const std::filesystem::path& path, const onnx::pb::Type& type);

// Empty when they agree within rtol and atol (|a - b| <= atol + rtol |b|, NaN equals NaN), otherwise what differs most.
std::string difference(const HostTensor& got, const HostTensor& wanted, double rtol, double atol);

}  // namespace ml::onnx_test
