// The extents of a tensor: up to eight dimensions, row-major meaning, zero extents allowed.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

#include "ml/export.h"

namespace ml {

inline constexpr int kMaxRank = 8;
// An extent that is not known yet: graphs with symbolic inputs carry it until they are bound.
inline constexpr std::int64_t kUnknown = -1;

class ML_API Shape {
 public:
  Shape() = default;  // rank 0: a scalar
  Shape(std::initializer_list<std::int64_t> dims);
  // Throws invalid_argument for more than eight dimensions or a negative extent other than kUnknown.
  explicit Shape(std::span<const std::int64_t> dims);

  int rank() const noexcept { return rank_; }
  bool empty() const noexcept { return rank_ == 0; }
  std::int64_t operator[](int axis) const noexcept { return dims_[static_cast<std::size_t>(axis)]; }
  std::int64_t& operator[](int axis) noexcept { return dims_[static_cast<std::size_t>(axis)]; }
  // Extent counted from the end for negative axes: at(-1) is the last. Throws out_of_range.
  std::int64_t at(int axis) const;
  const std::int64_t* begin() const noexcept { return dims_.data(); }
  const std::int64_t* end() const noexcept { return dims_.data() + rank_; }
  std::span<const std::int64_t> dims() const noexcept { return {dims_.data(), rank_}; }

  bool known() const noexcept;       // no extent is kUnknown
  std::int64_t elements() const;     // product of the extents, 1 for rank 0; throws when it overflows or is unknown
  void append(std::int64_t extent);  // throws at rank eight
  std::string str() const;           // "[2, 3]", "[]", unknown extents as "?"

  friend bool operator==(const Shape& a, const Shape& b) noexcept;

 private:
  std::array<std::int64_t, kMaxRank> dims_{};
  std::uint8_t rank_ = 0;
};

// `axis` in [-rank, rank) as an index in [0, rank); throws out_of_range naming `what`.
ML_API int normalize_axis(std::int64_t axis, int rank, const char* what);
// NumPy broadcasting of two shapes; throws invalid_argument naming `what` and both shapes. Unknown meets 1: unknown;
// unknown meets n > 1: n.
ML_API Shape broadcast_shapes(const Shape& a, const Shape& b, const char* what);

}  // namespace ml
