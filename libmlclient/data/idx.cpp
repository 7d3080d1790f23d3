#include <array>
#include <filesystem>

#include "libmlclient/files/mapped_file.h"
#include "ml/data.h"

namespace ml::data {
namespace {

// One IDX file: two zero bytes, a type code, the rank, big-endian extents, elements.
class IdxFile {
 public:
  IdxFile(const std::string& path, int rank) : file_(open(path)) {
    const std::span<const std::byte> bytes = file_.bytes();
    const std::size_t header = 4 + 4 * static_cast<std::size_t>(rank);
    if (bytes.size() < header) damaged("it has " + std::to_string(bytes.size()) + " bytes, no complete header");
    if (byte(0) == 0x1f && byte(1) == 0x8b) {
      throw Error(Code::corrupt, "'" + path + "' is compressed with gzip", {},
                  "decompress it: gunzip < FILE.gz > FILE");
    }
    if (byte(0) != 0 || byte(1) != 0) damaged("it does not begin with two zero bytes (offset 0)");
    if (byte(2) != 8) damaged("its elements are not unsigned bytes (offset 2)");
    if (byte(3) != static_cast<unsigned>(rank)) {
      damaged("it has " + std::to_string(byte(3)) + " dimensions, wanted " + std::to_string(rank) + " (offset 3)");
    }
    std::uint64_t elements = 1;
    for (int i = 0; i < rank; ++i) {
      std::uint32_t extent = 0;
      for (std::size_t k = 0; k < 4; ++k) extent = extent << 8 | byte(4 + 4 * static_cast<std::size_t>(i) + k);
      extents_[static_cast<std::size_t>(i)] = extent;
      if (__builtin_mul_overflow(elements, extent, &elements)) damaged("its extents overflow");
    }
    elements_ = bytes.subspan(header);
    if (elements_.size() != elements) {
      damaged("its header says " + std::to_string(elements) + " elements, " + std::to_string(elements_.size()) +
              " follow (offset " + std::to_string(header) + ")");
    }
  }

  std::int64_t extent(std::size_t i) const { return extents_[i]; }
  const std::byte* elements() const { return elements_.data(); }

 private:
  static files::MappedFile open(const std::string& path) {
    std::error_code ignored;  // opening it says what is wrong
    if (!std::filesystem::exists(path, ignored) && std::filesystem::exists(path + ".gz", ignored)) {
      throw Error(Code::not_found, "'" + path + "' is not there, only '" + path + ".gz'", {},
                  "decompress it: gunzip -c '" + path + ".gz' > a folder of yours");
    }
    return files::MappedFile(path);
  }
  unsigned byte(std::size_t i) const { return std::to_integer<unsigned>(file_.bytes()[i]); }
  [[noreturn]] void damaged(const std::string& what) const {
    throw Error(Code::corrupt, "'" + file_.path() + "' is not the IDX file that was expected: " + what, {},
                "the file is damaged, cut off or another one");
  }

  files::MappedFile file_;
  std::array<std::uint32_t, 3> extents_{};
  std::span<const std::byte> elements_;
};

}  // namespace

struct IdxDataset::Data {
  Data(const std::string& image_path, const std::string& label_path) : images(image_path, 3), labels(label_path, 1) {}

  IdxFile images, labels;
  std::vector<Field> fields;
  std::size_t pixels = 0;
  std::array<float, 256> value{};  // of each pixel
};

IdxDataset::IdxDataset(const std::string& images, const std::string& labels, IdxOptions options)
    : data_(std::make_unique<Data>(images, labels)) {
  if (data_->images.extent(0) != data_->labels.extent(0)) {
    throw Error(Code::invalid_argument, "'" + images + "' has " + std::to_string(data_->images.extent(0)) +
                                            " images, '" + labels + "' has " + std::to_string(data_->labels.extent(0)) +
                                            " labels");
  }
  if (!(options.deviation > 0)) throw Error(Code::invalid_argument, "IdxDataset: the deviation must be positive");
  const std::int64_t height = data_->images.extent(1), width = data_->images.extent(2);
  data_->fields = {{"image", DType::f32, {1, height, width}}, {"label", DType::i64, {}}};
  data_->pixels = static_cast<std::size_t>(height) * static_cast<std::size_t>(width);
  for (std::size_t i = 0; i < data_->value.size(); ++i)
    data_->value[i] = static_cast<float>((static_cast<double>(i) / 255 - options.mean) / options.deviation);
}
IdxDataset::~IdxDataset() = default;

std::int64_t IdxDataset::size() const { return data_->images.extent(0); }
const std::vector<Field>& IdxDataset::fields() const { return data_->fields; }

void IdxDataset::read(std::span<const std::int64_t> indices, std::span<std::byte* const> to) const {
  auto* image = reinterpret_cast<float*>(to[0]);
  auto* label = reinterpret_cast<std::int64_t*>(to[1]);
  for (const std::int64_t index : indices) {
    const std::byte* const from = data_->images.elements() + static_cast<std::size_t>(index) * data_->pixels;
    for (std::size_t i = 0; i < data_->pixels; ++i) *image++ = data_->value[std::to_integer<std::size_t>(from[i])];
    *label++ = std::to_integer<std::int64_t>(data_->labels.elements()[index]);
  }
}

}  // namespace ml::data
