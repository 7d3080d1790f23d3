#include "tools/mlbench/tensor_file.h"

#include <fstream>
#include <sstream>

#include "ml/error.h"

namespace ml::bench {
namespace {

NamedArray header_of(const std::string& line, const std::string& path) {
  NamedArray tensor;
  std::istringstream words(line);
  std::string dtype;
  words >> tensor.name >> dtype;
  tensor.dtype = parse_dtype(dtype);
  for (std::int64_t extent; words >> extent;) tensor.shape.append(extent);
  if (!words.eof()) throw Error(Code::corrupt, "not a line of name, dtype and extents: " + line, path);
  tensor.bytes.resize(static_cast<std::size_t>(tensor.shape.elements()) * dtype_size(tensor.dtype));
  return tensor;
}

}  // namespace

void write_tensors(const std::string& path, std::span<const NamedArray> tensors) {
  std::ofstream file(path, std::ios::binary);
  for (const NamedArray& tensor : tensors) {
    file << tensor.name << ' ' << dtype_name(tensor.dtype);
    for (const std::int64_t extent : tensor.shape) file << ' ' << extent;
    file << '\n';
  }
  file << '\n';
  for (const NamedArray& tensor : tensors)
    file.write(reinterpret_cast<const char*>(tensor.bytes.data()), static_cast<std::streamsize>(tensor.bytes.size()));
  file.flush();
  if (!file) throw Error(Code::io, "cannot be written", path);
}

std::vector<NamedArray> read_tensors(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::vector<NamedArray> tensors;
  for (std::string line; std::getline(file, line) && !line.empty();) tensors.push_back(header_of(line, path));
  for (NamedArray& tensor : tensors)
    file.read(reinterpret_cast<char*>(tensor.bytes.data()), static_cast<std::streamsize>(tensor.bytes.size()));
  if (!file) throw Error(Code::io, "cannot be read, or is too short", path);
  return tensors;
}

}  // namespace ml::bench
