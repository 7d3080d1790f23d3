#include "tests/onnx/data.h"

#include <cmath>
#include <fstream>

#include "engine/formats/onnx/onnx.pb.h"
#include "engine/formats/onnx/tensor.h"
#include "engine/graph/scalar.h"
#include "ml/error.h"

namespace ml::onnx_test {

std::shared_ptr<const Blob> read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Error(Code::not_found, "cannot open " + path.string());
  const std::vector<char> bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  return Blob::copy_of(std::as_bytes(std::span(bytes)));
}

void write_file(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  if (!file.flush()) throw Error(Code::io, "cannot write " + path.string());
}

namespace {

template <class Proto>
Proto parse(const std::filesystem::path& path, const Blob& blob) {
  Proto proto;
  if (!proto.ParseFromArray(blob.bytes().data(), static_cast<int>(blob.bytes().size())))
    throw Error(Code::corrupt, path.string() + " does not hold what the model says");
  return proto;
}

HostTensor host_tensor(const onnx::pb::Tensor& proto, const std::shared_ptr<const Blob>& blob,
                       const std::string& where) {
  onnx::Files files(blob);
  const ConstantPtr value = onnx::read_tensor(proto, files, where + ": ");
  return {value->dtype, value->shape, {value->bytes().begin(), value->bytes().end()}};
}

}  // namespace

NamedTensor read_tensor_file(const std::filesystem::path& path) {
  const auto blob = read_file(path);
  const auto proto = parse<onnx::pb::Tensor>(path, *blob);
  return {proto.name(), host_tensor(proto, blob, path.filename().string())};
}

FileValue read_value_file(const std::filesystem::path& path, const onnx::pb::Type& type) {
  const std::string where = path.filename().string();
  const auto blob = read_file(path);
  FileValue value;
  const auto add_sequence = [&](const onnx::pb::Sequence& sequence) {
    value.sequence = true;
    for (const onnx::pb::Tensor& tensor : sequence.tensor_values())
      value.tensors.push_back(host_tensor(tensor, blob, where));
  };
  if (type.has_tensor_type()) {
    const NamedTensor tensor = read_tensor_file(path);
    return {tensor.name, true, false, {tensor.tensor}};
  }
  if (type.has_sequence_type()) {
    const auto proto = parse<onnx::pb::Sequence>(path, *blob);
    value.name = proto.name();
    add_sequence(proto);
    return value;
  }
  if (!type.has_optional_type())
    throw Error(Code::unsupported, "only tensors, sequences and optionals are read", where);
  const auto proto = parse<onnx::pb::Optional>(path, *blob);
  value.name = proto.name();
  value.present = proto.has_tensor_value() || proto.has_sequence_value();
  if (proto.has_tensor_value()) value.tensors.push_back(host_tensor(proto.tensor_value(), blob, where));
  if (proto.has_sequence_value()) add_sequence(proto.sequence_value());
  return value;
}

void write_tensor_file(const std::filesystem::path& path, const HostTensor& tensor) {
  onnx::pb::Tensor proto;
  proto.set_data_type(onnx::onnx_type_of(tensor.dtype));
  for (const std::int64_t extent : tensor.shape.dims()) proto.add_dims(extent);
  std::vector<std::byte> packed;
  const auto stored = onnx::stored_bytes(tensor.dtype, tensor.bytes, packed);
  proto.set_raw_data(stored.data(), stored.size());
  const std::string bytes = proto.SerializeAsString();
  write_file(path, std::as_bytes(std::span(bytes)));
}

std::string difference(const HostTensor& got, const HostTensor& wanted, double rtol, double atol) {
  const auto describe = [](const HostTensor& t) { return std::string(dtype_name(t.dtype)) + t.shape.str(); };
  if (got.dtype != wanted.dtype || got.shape != wanted.shape)
    return "got " + describe(got) + ", wanted " + describe(wanted);
  const std::size_t size = dtype_size(got.dtype);
  for (std::size_t at = 0; at < wanted.bytes.size(); at += size) {
    const double a = load_double(got.dtype, got.bytes.data() + at),
                 b = load_double(wanted.dtype, wanted.bytes.data() + at);
    if (a == b || (std::isnan(a) && std::isnan(b))) continue;
    if (!(std::abs(a - b) <= atol + rtol * std::abs(b))) {
      return "element " + std::to_string(at / size) + " of " + describe(got) + " is " + std::to_string(a) +
             ", wanted " + std::to_string(b);
    }
  }
  return {};
}

}  // namespace ml::onnx_test
