#include "engine/backends/cpu/panel_pack.h"

#include <algorithm>
#include <cstring>

namespace ml::cpu {
namespace {

constexpr std::int64_t kRows = 16;  // of a panel at once: a cache line of a column that lies along them
constexpr std::int64_t kSetAside = std::int64_t{4} << 20;  // bytes

// What has been read is set aside a few megabytes at a time.
class Reader {
 public:
  explicit Reader(const ConstantData& constant) : constant_(constant), bytes_(constant.bytes()) {}

  const std::byte* at(std::int64_t element) const { return bytes_.data() + element * kFloat; }
  void read_until(std::int64_t element) {
    const std::int64_t end = std::min(element * kFloat, static_cast<std::int64_t>(bytes_.size()));
    if (end - done_ < kSetAside) return;
    constant_.blob->set_aside(bytes_.subspan(static_cast<std::size_t>(done_), static_cast<std::size_t>(end - done_)));
    done_ = end;
  }
  static constexpr std::int64_t kFloat = sizeof(float);

 private:
  const ConstantData& constant_;
  std::span<const std::byte> bytes_;
  std::int64_t done_ = 0;
};

}  // namespace

void pack_matrix(const ConstantData& constant, const MatrixStrides& strides, std::int64_t depth, std::int64_t columns,
                 std::int64_t width, float* to) {
  Reader reader(constant);
  if (strides.column == 1) {
    for (std::int64_t from = 0; from < depth; from += kRows) {
      const std::int64_t end = std::min(from + kRows, depth);
      for (std::int64_t first = 0; first < columns; first += width) {
        const auto bytes = static_cast<std::size_t>(std::min(width, columns - first) * Reader::kFloat);
        for (std::int64_t k = from; k < end; ++k)
          std::memcpy(to + first * depth + k * width, reader.at(k * strides.row + first), bytes);
      }
      reader.read_until(end * strides.row);
    }
    return;
  }
  for (std::int64_t first = 0; first < columns; first += width) {
    const std::int64_t count = std::min(width, columns - first);
    float* const panel = to + first * depth;
    for (std::int64_t from = 0; from < depth; from += kRows) {
      const std::int64_t end = std::min(from + kRows, depth);
      for (std::int64_t j = 0; j < count; ++j) {
        for (std::int64_t k = from; k < end; ++k)
          std::memcpy(panel + k * width + j, reader.at(k * strides.row + (first + j) * strides.column), sizeof(float));
      }
    }
    reader.read_until((first + count) * strides.column);
  }
}

}  // namespace ml::cpu
