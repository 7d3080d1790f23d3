// Tensors as text, as NumPy users know it.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <ostream>

#include "ml/ops.h"
#include "ml/tensor.h"

namespace ml {
namespace {

constexpr std::int64_t kSummarize = 1000;  // larger tensors show the ends of each axis
constexpr std::int64_t kEnds = 3;
constexpr char kPrefix[] = "tensor(";

class Printer {
 public:
  Printer(const Shape& shape, DType dtype, std::vector<double> floats, std::vector<std::int64_t> integers)
      : shape_(shape), dtype_(dtype), floats_(std::move(floats)), integers_(std::move(integers)) {
    summarize_ = shape.elements() > kSummarize;
    const bool whole = std::ranges::all_of(floats_, [](double x) { return !std::isfinite(x) || x == std::round(x); });
    const auto largest =
        std::ranges::max_element(floats_, {}, [](double x) { return std::isfinite(x) ? std::abs(x) : 0; });
    const double magnitude = largest == floats_.end() || !std::isfinite(*largest) ? 0 : std::abs(*largest);
    format_ = magnitude >= 1e8 || (magnitude != 0 && magnitude < 1e-3) ? "%.4e" : whole ? "%.0f." : "%.4f";
    walk(0, 0, [&](std::int64_t i) { width_ = std::max(width_, element(i).size()); });
  }

  std::string text() {
    print(0, 0);
    return text_;
  }

 private:
  std::string element(std::int64_t i) const {
    const auto at = static_cast<std::size_t>(i);
    if (dtype_ == DType::boolean) return integers_[at] != 0 ? "true" : "false";
    if (dtype_ == DType::u64) return std::to_string(static_cast<std::uint64_t>(integers_[at]));
    if (!is_floating(dtype_)) return std::to_string(integers_[at]);
    if (!std::isfinite(floats_[at])) return std::isnan(floats_[at]) ? "nan" : floats_[at] > 0 ? "inf" : "-inf";
    char buffer[64];
    std::snprintf(buffer, sizeof buffer, format_, floats_[at]);
    return buffer;
  }

  bool shown(std::int64_t i, std::int64_t extent) const {
    return !summarize_ || extent <= 2 * kEnds || i < kEnds || i >= extent - kEnds;
  }

  template <class F>
  void walk(int axis, std::int64_t base, F&& visit) const {
    if (axis == shape_.rank()) return visit(base);
    for (std::int64_t i = 0; i < shape_[axis]; ++i) {
      if (shown(i, shape_[axis])) walk(axis + 1, base * shape_[axis] + i, visit);
    }
  }

  void print(int axis, std::int64_t base) {
    if (axis == shape_.rank()) {
      const std::string word = element(base);
      text_ += std::string(shape_.rank() > 0 ? width_ - word.size() : 0, ' ') + word;
      return;
    }
    text_ += "[";
    for (std::int64_t i = 0; i < shape_[axis]; ++i) {
      if (!shown(i, shape_[axis])) continue;
      if (i > 0) separate(axis);
      if (i > 0 && !shown(i - 1, shape_[axis])) {
        text_ += "...";
        separate(axis);
      }
      print(axis + 1, base * shape_[axis] + i);
    }
    text_ += "]";
  }

  void separate(int axis) {
    const int below = shape_.rank() - axis - 1;
    if (below == 0) {
      text_ += ", ";
      return;
    }
    text_ += "," + std::string(static_cast<std::size_t>(below), '\n') +
             std::string(sizeof kPrefix - 1 + static_cast<std::size_t>(axis) + 1, ' ');
  }

  Shape shape_;
  DType dtype_;
  std::vector<double> floats_;
  std::vector<std::int64_t> integers_;
  bool summarize_ = false;
  const char* format_ = "%.4f";
  std::size_t width_ = 0;
  std::string text_;
};

}  // namespace

std::string Tensor::str() const {
  if (!defined()) return "tensor(undefined)";
  const bool floating = is_floating(dtype());
  std::string body;
  if (elements() == 0)
    body = "[]";
  else
    body = Printer(shape(), dtype(), floating ? to_vector<double>() : std::vector<double>{},
                   floating ? std::vector<std::int64_t>{} : to_vector<std::int64_t>())
               .text();
  return kPrefix + body + ", " + std::string(dtype_name(dtype())) + shape().str() + ")";
}

std::ostream& operator<<(std::ostream& out, const Tensor& tensor) { return out << tensor.str(); }

}  // namespace ml
