// NumPy's .npy files (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html).
#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

#include "libmlclient/files/atomic_file.h"
#include "libmlclient/files/mapped_file.h"
#include "ml/data.h"
#include "ml/ops.h"

namespace ml::data {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";

struct DTypeName {
  DType dtype;
  std::string_view name;
};
constexpr std::array kNames{
    DTypeName{DType::f64, "<f8"}, DTypeName{DType::f32, "<f4"}, DTypeName{DType::f16, "<f2"},
    DTypeName{DType::i8, "|i1"},  DTypeName{DType::i16, "<i2"}, DTypeName{DType::i32, "<i4"},
    DTypeName{DType::i64, "<i8"}, DTypeName{DType::u8, "|u1"},  DTypeName{DType::u16, "<u2"},
    DTypeName{DType::u32, "<u4"}, DTypeName{DType::u64, "<u8"}, DTypeName{DType::boolean, "|b1"},
};

// The header is a Python dictionary literal: {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }
class Header {
 public:
  Header(const std::string& path, std::string_view text) : path_(path), text_(text) {
    expect('{');
    while (!take('}')) {
      const std::string_view key = quoted();
      expect(':');
      if (key == "descr")
        descr = quoted();
      else if (key == "fortran_order")
        fortran = boolean();
      else if (key == "shape")
        read_shape();
      else
        damaged("it has the unknown key '" + std::string(key) + "'");
      take(',');
    }
    if (descr.empty() || !has_shape_) damaged("it lacks descr or shape");
  }

  std::string_view descr;
  bool fortran = false;
  Shape shape;

 private:
  [[noreturn]] void damaged(const std::string& what) const {
    throw Error(Code::corrupt,
                "'" + path_ + "': its NumPy header is damaged: " + what + " (offset " + std::to_string(at_) + ")");
  }
  bool take(char c) {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!take(c)) damaged(std::string("'") + c + "' is missing");
  }
  std::string_view quoted() {
    expect('\'');
    const std::size_t end = text_.find('\'', at_);
    if (end == std::string_view::npos) damaged("a string does not end");
    const std::string_view word = text_.substr(at_, end - at_);
    at_ = end + 1;
    return word;
  }
  bool boolean() {
    take(' ');
    for (const std::string_view word : {"False", "True"}) {
      if (!text_.substr(at_).starts_with(word)) continue;
      at_ += word.size();
      return word == "True";
    }
    damaged("neither True nor False");
  }
  void read_shape() {
    has_shape_ = true;
    expect('(');
    while (!take(')')) {
      std::int64_t extent = 0;
      const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), extent);
      if (error != std::errc{} || extent < 0) damaged("an extent is no number");
      at_ = static_cast<std::size_t>(end - text_.data());
      if (shape.rank() == kMaxRank) damaged("it has more than 8 dimensions");
      shape.append(extent);
      take(',');
    }
  }

  const std::string& path_;
  std::string_view text_;
  std::size_t at_ = 0;
  bool has_shape_ = false;
};

}  // namespace

Tensor load_npy(const std::string& path) {
  const files::MappedFile file(path);
  const std::span<const std::byte> bytes = file.bytes();
  const auto* text = reinterpret_cast<const char*>(bytes.data());
  const auto damaged = [&](const std::string& what) {
    return Error(Code::corrupt, "'" + path + "' is not a NumPy file: " + what, {}, "the file is damaged or cut off");
  };
  if (bytes.size() < 12 || std::string_view(text, kMagic.size()) != kMagic) throw damaged("it has no NumPy magic");
  const int version = text[6];
  if (version < 1 || version > 3)
    throw Error(Code::unsupported, "'" + path + "' has NumPy format version " + std::to_string(version));
  const std::size_t start = version == 1 ? 10 : 12;
  std::uint32_t length = 0;
  std::memcpy(&length, text + 8, start - 8);
  if (length > bytes.size() - start) throw damaged("its header of " + std::to_string(length) + " bytes does not fit");
  const Header header(path, {text + start, length});

  std::string name(header.descr);
  if (name.size() == 3 && name[0] == '=') name[0] = '<';
  const auto row = std::ranges::find(kNames, name, &DTypeName::name);
  if (row == kNames.end()) {
    throw Error(Code::unsupported, "'" + path + "' holds '" + name + "', which no dtype is", {},
                "save it as bool, an integer or a float in little-endian order");
  }
  const std::span<const std::byte> data = bytes.subspan(start + length);
  Shape stored = header.shape;
  if (header.fortran) std::reverse(&stored[0], &stored[0] + stored.rank());
  std::int64_t elements = 0;
  try {
    elements = stored.elements();
  } catch (const Error& error) {
    throw damaged(error.message());
  }
  const std::size_t size = dtype_size(row->dtype);
  if (data.size() % size != 0 || data.size() / size != static_cast<std::uint64_t>(elements)) {
    throw damaged("shape " + header.shape.str() + " of '" + name + "' does not have the " +
                  std::to_string(data.size()) + " bytes that follow");
  }
  const Tensor tensor = from_bytes(data, stored, row->dtype);
  if (!header.fortran) return tensor;
  Axes order;
  for (int axis = stored.rank(); axis-- > 0;) order.push_back(axis);
  return permute(tensor, order).eval();
}

void save_npy(const std::string& path, const Tensor& tensor) {
  const auto row = std::ranges::find(kNames, tensor.dtype(), &DTypeName::dtype);
  if (row == kNames.end()) {
    throw Error(Code::unsupported, "save_npy: NumPy has no " + std::string(dtype_name(tensor.dtype())), {},
                "convert to f32 first");
  }
  std::vector<std::byte> bytes(static_cast<std::size_t>(tensor.elements()) * dtype_size(tensor.dtype()));
  tensor.read(bytes);
  std::string shape;
  for (const std::int64_t extent : tensor.shape().dims()) shape += std::to_string(extent) + ", ";
  std::string header =
      "{'descr': '" + std::string(row->name) + "', 'fortran_order': False, 'shape': (" + shape + "), }";
  constexpr std::size_t kStart = 10;
  header.append(63 - (kStart + header.size()) % 64, ' ');
  header += '\n';
  const auto length = static_cast<std::uint16_t>(header.size());
  files::AtomicFile file(path);
  file.write(std::string(kMagic) + '\1' + '\0');
  file.write(std::as_bytes(std::span(&length, 1)));
  file.write(header);
  file.write(bytes);
  file.commit();
}

}  // namespace ml::data
