#include "ml/shape.h"

#include <algorithm>

#include "ml/error.h"

namespace ml {

Shape::Shape(std::initializer_list<std::int64_t> dims) : Shape(std::span(dims.begin(), dims.size())) {}

Shape::Shape(std::span<const std::int64_t> dims) {
  if (dims.size() > kMaxRank) {
    throw Error(Code::invalid_argument, "a tensor has at most 8 dimensions, not " + std::to_string(dims.size()));
  }
  for (const std::int64_t extent : dims) {
    if (extent < 0 && extent != kUnknown) {
      throw Error(Code::invalid_argument, "a dimension cannot be " + std::to_string(extent));
    }
    dims_[rank_++] = extent;
  }
}

std::int64_t Shape::at(int axis) const { return dims_[static_cast<std::size_t>(normalize_axis(axis, rank_, "axis"))]; }

bool Shape::known() const noexcept {
  return std::none_of(begin(), end(), [](std::int64_t d) { return d < 0; });
}

std::int64_t Shape::elements() const {
  std::int64_t product = 1;
  bool zero = false;
  bool overflow = false;
  for (const std::int64_t extent : dims()) {
    if (extent < 0)
      throw Error(Code::invalid_argument, "the size of " + str() + " is not known before its dims are bound");
    zero |= extent == 0;
    overflow |= extent != 0 && __builtin_mul_overflow(product, extent, &product);
  }
  if (overflow) throw Error(Code::invalid_argument, "shape " + str() + " has more than 2^63 elements");
  return zero ? 0 : product;
}

void Shape::append(std::int64_t extent) {
  if (rank_ == kMaxRank) throw Error(Code::invalid_argument, "a tensor has at most 8 dimensions");
  dims_[rank_++] = extent;
}

std::string Shape::str() const {
  std::string text = "[";
  for (int i = 0; i < rank_; ++i) {
    if (i > 0) text += ", ";
    text += (*this)[i] == kUnknown ? "?" : std::to_string((*this)[i]);
  }
  return text + "]";
}

ML_API bool operator==(const Shape& a, const Shape& b) noexcept { return std::ranges::equal(a.dims(), b.dims()); }

int normalize_axis(std::int64_t axis, int rank, const char* what) {
  if (axis < -rank || axis >= rank) {
    throw Error(Code::out_of_range, std::string(what) + " " + std::to_string(axis) + " is outside of a tensor with " +
                                        std::to_string(rank) + " dimensions");
  }
  return static_cast<int>(axis < 0 ? axis + rank : axis);
}

Shape broadcast_shapes(const Shape& a, const Shape& b, const char* what) {
  const int rank = std::max(a.rank(), b.rank());
  Shape result;
  for (int i = 0; i < rank; ++i) {
    const int ia = i - (rank - a.rank());
    const int ib = i - (rank - b.rank());
    const std::int64_t da = ia < 0 ? 1 : a[ia];
    const std::int64_t db = ib < 0 ? 1 : b[ib];
    if (da == db || db == 1) {
      result.append(da);
    } else if (da == 1 || da == kUnknown) {
      result.append(db);
    } else if (db == kUnknown) {
      result.append(da);
    } else {
      throw Error(Code::invalid_argument,
                  std::string(what) + ": shapes do not broadcast: " + a.str() + " and " + b.str() + " (" +
                      std::to_string(da) + " vs " + std::to_string(db) + ")",
                  {}, "make the dimensions equal, or one of them 1");
    }
  }
  return result;
}

}  // namespace ml
