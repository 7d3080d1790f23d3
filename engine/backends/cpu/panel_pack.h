// Constant matrices on their way into panels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/backends/cpu/matmul_shape.h"
#include "engine/backends/thread_pool.h"
#include "engine/graph/constant.h"

namespace ml::cpu {

// Where the rows [taps][depth] and the columns of a matrix lie, in elements of a constant of f32.
struct PanelSource {
  std::int64_t first = 0;          // where it begins
  std::int64_t taps = 1, tap = 0;  // and from one to the next
  std::int64_t depth = 0, columns = 0;
  MatrixStrides strides;
};

// Its bytes, at any alignment, and what each column is to be multiplied with: where a constant is another times a
// factor for each column, that one is read, and the product is nowhere but in the panels.
class PanelReader {
 public:
  PanelReader(const ConstantData& constant, const PanelSource& source);

  const std::byte* at(std::int64_t element) const { return bytes_.data() + element * kFloat; }
  bool scales() const { return !factors_.empty(); }
  double factor(std::int64_t column) const { return factors_[static_cast<std::size_t>(column)]; }
  // Elements that have been read.
  void set_aside(std::int64_t begin, std::int64_t end) const;

  static constexpr std::int64_t kFloat = sizeof(float);

 private:
  const ConstantData* constant_;
  std::vector<double> factors_;  // none: 1
  std::span<const std::byte> bytes_;
};

// Packs the matrix into panels of `width` columns, `taps` * `depth` rows each: zeroed memory for as many whole panels.
// It goes through the bytes once, in order, with all threads, and sets them aside behind it, so that a large one is
// never in memory twice.
void pack_panels(const ConstantData& constant, const PanelSource& source, std::int64_t width, float* to,
                 ThreadPool& pool);

}  // namespace ml::cpu
