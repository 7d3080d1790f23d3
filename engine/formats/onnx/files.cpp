#include "engine/formats/onnx/files.h"

#include <charconv>
#include <filesystem>
#include <utility>

#include "engine/formats/onnx/onnx.pb.h"
#include "ml/error.h"

namespace ml::onnx {
namespace {

std::uint64_t number_of(const std::string& key, const std::string& text, const std::string& where) {
  std::uint64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || stop != end)
    throw Error(Code::corrupt, "external_data: " + key + " is '" + text + "', no number of bytes", where);
  return value;
}

// Whatever opens it need not be relied on to keep within the folder.
void check_location(const std::string& location, const std::string& where) {
  const auto refuse = [&](const char* what) {
    throw Error(Code::denied, "its data lies in '" + std::string(location.c_str()) + "', which is " + what, where,
                "data files have to lie in the model's folder or below it, and be named from there");
  };
  if (location.empty() || location.find('\0') != std::string::npos) refuse("no file's name");
  if (location.front() == '/') refuse("an absolute path");
  for (const std::filesystem::path& part : std::filesystem::path(location)) {
    if (part == "..") refuse("a path that leaves the model's folder");
  }
}

}  // namespace

Files::Files(std::shared_ptr<const Blob> model, const ImportOptions& options)
    : model_(std::move(model)), libraries_(options.functions), open_(options.open) {}

const std::shared_ptr<const Blob>& Files::file(std::size_t source) const {
  return source == 0 ? model_ : libraries_[source - 1].file;
}

std::uint64_t Files::size() const {
  std::uint64_t bytes = model_->bytes().size();
  for (const FunctionLibrary& library : libraries_) bytes += library.file->bytes().size();
  return bytes;
}

Place Files::lifted(const pb::Tensor& tensor) const {
  return {file(tensor.source()), tensor.lifted_offset(), tensor.lifted_length()};
}

Place Files::outside(const pb::Tensor& tensor, std::uint64_t wanted, const std::string& where) {
  std::map<std::string, std::string> entries;
  for (const pb::Entry& entry : tensor.external_data()) {
    if (!entries.try_emplace(entry.key(), entry.value()).second)
      throw Error(Code::corrupt, "external_data says '" + entry.key() + "' twice", where);
  }
  const auto bytes = [&](const char* key, std::uint64_t otherwise) {
    const auto found = entries.find(key);
    return found == entries.end() ? otherwise : number_of(key, found->second, where);
  };
  const std::string& location = entries["location"];
  if (tensor.source() != 0) {
    throw Error(Code::unsupported,
                "its data lies in another file, '" + std::string(location.c_str()) + "', and it is a tensor of '" +
                    libraries_[tensor.source() - 1].name + "'",
                where, "save the functions with their tensors inside");
  }
  check_location(location, where);
  Place place{nullptr, bytes("offset", 0), bytes("length", wanted)};
  place.file = open(location, where);
  const std::uint64_t size = place.file->bytes().size();
  if (place.offset > size || place.length > size - place.offset) {
    throw Error(Code::corrupt,
                "its data is " + std::to_string(place.length) + " bytes at byte " + std::to_string(place.offset) +
                    " of '" + location + "', which has " + std::to_string(size),
                where, "is the data file complete, and the one that was saved with the model?");
  }
  return place;
}

std::shared_ptr<const Blob> Files::open(const std::string& location, const std::string& where) {
  if (!open_) {
    throw Error(Code::unsupported, "its data lies in another file, '" + location + "', and only bytes were given",
                where, "load the model by its path, or say how its data files are opened (ImportOptions::open)");
  }
  auto& file = opened_[location];
  if (file) return file;
  try {
    return file = open_(location);
  } catch (const Error& error) {
    throw error.within(where);
  }
}

}  // namespace ml::onnx
