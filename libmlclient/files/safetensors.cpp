#include "libmlclient/files/safetensors.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "libmlclient/files/atomic_file.h"
#include "libmlclient/files/json.h"
#include "libmlclient/files/mapped_file.h"

namespace ml::files {
namespace {

constexpr std::uint64_t kMaxHeader = 100'000'000;  // the format's own limit

struct DTypeName {
  DType dtype;
  std::string_view name;
};
constexpr std::array kNames{
    DTypeName{DType::f64, "F64"},        DTypeName{DType::f32, "F32"},
    DTypeName{DType::f16, "F16"},        DTypeName{DType::bf16, "BF16"},
    DTypeName{DType::i8, "I8"},          DTypeName{DType::i16, "I16"},
    DTypeName{DType::i32, "I32"},        DTypeName{DType::i64, "I64"},
    DTypeName{DType::u8, "U8"},          DTypeName{DType::u16, "U16"},
    DTypeName{DType::u32, "U32"},        DTypeName{DType::u64, "U64"},
    DTypeName{DType::boolean, "BOOL"},   DTypeName{DType::f8e4m3fn, "F8_E4M3"},
    DTypeName{DType::f8e5m2, "F8_E5M2"}, DTypeName{DType::f8e8m0, "F8_E8M0"},
};

[[noreturn]] void damaged(const std::string& path, const std::string& what) {
  throw Error(Code::corrupt, "'" + path + "' is not a safetensors file: " + what, {},
              "the file is damaged, cut off or of another format");
}

// A whole number in [0, 2^53].
std::uint64_t whole(const std::string& path, const Json& json, const std::string& what) {
  const double* const number = json.as<double>();
  if (number == nullptr || *number < 0 || *number > 9007199254740992.0 || *number != std::floor(*number))
    damaged(path, what + " is no whole number");
  return static_cast<std::uint64_t>(*number);
}

struct Entry {
  std::string name;
  DType dtype;
  Shape shape;
  std::uint64_t begin, end;
};

Entry read_entry(const std::string& path, const std::string& name, const Json& json, std::uint64_t data_bytes) {
  const std::string what = "tensor '" + name + "'";
  const Json* const dtype = json.find("dtype");
  const Json* const shape = json.find("shape");
  const Json* const offsets = json.find("data_offsets");
  if (dtype == nullptr || shape == nullptr || offsets == nullptr || dtype->as<std::string>() == nullptr ||
      shape->as<JsonArray>() == nullptr || offsets->as<JsonArray>() == nullptr)
    damaged(path, what + " lacks dtype, shape or data_offsets");
  const std::string& dtype_text = *dtype->as<std::string>();
  const auto row = std::ranges::find(kNames, dtype_text, &DTypeName::name);
  if (row == kNames.end()) damaged(path, what + " has the unknown dtype '" + dtype_text + "'");
  if (shape->as<JsonArray>()->size() > kMaxRank) damaged(path, what + " has more than 8 dimensions");
  Entry entry{name, row->dtype, {}, 0, 0};
  std::uint64_t bytes = dtype_size(row->dtype);
  for (const Json& extent : *shape->as<JsonArray>()) {
    entry.shape.append(static_cast<std::int64_t>(whole(path, extent, what + ": an extent")));
    if (__builtin_mul_overflow(bytes, static_cast<std::uint64_t>(entry.shape.at(-1)), &bytes))
      damaged(path, what + " is too large");
  }
  const JsonArray& range = *offsets->as<JsonArray>();
  if (range.size() != 2) damaged(path, what + ": data_offsets are not two numbers");
  entry.begin = whole(path, range[0], what + ": an offset");
  entry.end = whole(path, range[1], what + ": an offset");
  if (entry.begin > entry.end || entry.end > data_bytes || entry.end - entry.begin != bytes) {
    damaged(path, what + " " + entry.shape.str() + " of " + std::to_string(bytes) + " bytes does not lie at [" +
                      std::to_string(entry.begin) + ", " + std::to_string(entry.end) + ") of " +
                      std::to_string(data_bytes) + " bytes");
  }
  return entry;
}

// Tensors must fill the data without holes or overlaps.
void check_cover(const std::string& path, std::vector<Entry> entries, std::uint64_t data_bytes) {
  std::ranges::sort(entries, {}, [](const Entry& e) { return std::pair(e.begin, e.end); });
  std::uint64_t at = 0;
  for (const Entry& entry : entries) {
    if (entry.begin != at) damaged(path, "tensor '" + entry.name + "' overlaps another, or leaves a hole");
    at = entry.end;
  }
  if (at != data_bytes) damaged(path, std::to_string(data_bytes - at) + " bytes belong to no tensor");
}

}  // namespace

Safetensors load_safetensors(const std::string& path) {
  const MappedFile file(path);
  const std::span<const std::byte> bytes = file.bytes();
  std::uint64_t header = 0;
  if (bytes.size() < sizeof header) damaged(path, "it has " + std::to_string(bytes.size()) + " bytes");
  std::memcpy(&header, bytes.data(), sizeof header);
  if (header > kMaxHeader || header > bytes.size() - sizeof header)
    damaged(path, "its header of " + std::to_string(header) + " bytes does not fit");
  Json json;
  try {
    json = parse_json({reinterpret_cast<const char*>(bytes.data()) + sizeof header, header});
  } catch (const Error& error) {
    damaged(path, error.message());
  }
  if (json.as<JsonObject>() == nullptr) damaged(path, "its header is no JSON object");
  const std::span<const std::byte> data = bytes.subspan(sizeof header + header);

  Safetensors result;
  std::vector<Entry> entries;
  for (const auto& [name, member] : *json.as<JsonObject>()) {
    if (name != "__metadata__") {
      entries.push_back(read_entry(path, name, member, data.size()));
      continue;
    }
    if (member.as<JsonObject>() == nullptr) damaged(path, "its metadata is no JSON object");
    for (const auto& [key, text] : *member.as<JsonObject>()) {
      if (text.as<std::string>() == nullptr) damaged(path, "metadata '" + key + "' is no string");
      result.metadata[key] = *text.as<std::string>();
    }
  }
  check_cover(path, entries, data.size());
  for (const Entry& entry : entries) {
    result.tensors.push_back(
        {entry.name, from_bytes(data.subspan(entry.begin, entry.end - entry.begin), entry.shape, entry.dtype)});
  }
  return result;
}

void save_safetensors(const std::string& path, std::span<const nn::NamedTensor> tensors,
                      const std::map<std::string, std::string>& metadata) {
  std::vector<Tensor> all;
  for (const nn::NamedTensor& entry : tensors) {
    if (std::ranges::find(kNames, entry.tensor.dtype(), &DTypeName::dtype) == kNames.end()) {
      throw Error(Code::unsupported,
                  "tensor '" + entry.name + "': safetensors has no " + std::string(dtype_name(entry.tensor.dtype())),
                  {}, "convert it to i8, u8 or f8e4m3fn first");
    }
    all.push_back(entry.tensor);
  }
  eval(all);

  std::string header = "{";
  if (!metadata.empty()) {
    header += "\"__metadata__\":{";
    for (const auto& [key, text] : metadata)
      header += (header.back() == '{' ? "" : ",") + quote_json(key) + ":" + quote_json(text);
    header += "}";
  }
  std::uint64_t offset = 0;
  for (const nn::NamedTensor& entry : tensors) {
    const Tensor& tensor = entry.tensor;
    const std::uint64_t bytes = static_cast<std::uint64_t>(tensor.elements()) * dtype_size(tensor.dtype());
    std::string shape;
    for (const std::int64_t extent : tensor.shape().dims())
      shape += (shape.empty() ? "" : ",") + std::to_string(extent);
    header += (header.size() == 1 ? "" : ",") + quote_json(entry.name) + R"(:{"dtype":")" +
              std::string(std::ranges::find(kNames, tensor.dtype(), &DTypeName::dtype)->name) + R"(","shape":[)" +
              shape + R"(],"data_offsets":[)" + std::to_string(offset) + "," + std::to_string(offset + bytes) + "]}";
    offset += bytes;
  }
  header += "}";
  header.append((8 - header.size() % 8) % 8, ' ');  // the data begins aligned

  AtomicFile file(path);
  const std::uint64_t size = header.size();
  file.write(std::as_bytes(std::span(&size, 1)));
  file.write(header);
  std::vector<std::byte> bytes;
  for (const nn::NamedTensor& entry : tensors) {
    bytes.resize(static_cast<std::size_t>(entry.tensor.elements()) * dtype_size(entry.tensor.dtype()));
    entry.tensor.read(bytes);
    file.write(bytes);
  }
  file.commit();
}

}  // namespace ml::files
