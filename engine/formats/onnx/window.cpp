#include "engine/formats/onnx/window.h"

#include <algorithm>

namespace ml::onnx {
namespace {

using Node = const NodeContext&;

// What every entry of size, strides, pads and dilations stays below, so that positions never overflow.
constexpr std::int64_t kLimit = std::int64_t{1} << 31;

void check(Node n, const Ints& list, const char* name, std::size_t length, std::int64_t least) {
  if (list.size() != length) {
    n.invalid(std::string(name) + " has " + std::to_string(list.size()) + " entries, " + std::to_string(length) +
              " are needed");
  }
  for (const std::int64_t entry : list) {
    if (entry < least || entry >= kLimit) n.invalid(std::string(name) + " has an entry of " + std::to_string(entry));
  }
}

Ints check_size(Node n, Ints size) {
  check(n, size, "kernel_shape", size.size(), 1);
  if (static_cast<int>(size.size()) + 2 != n.in(0).rank())
    n.invalid("a window of " + std::to_string(size.size()) + " dimensions over " + n.in(0).shape().str());
  return size;
}

// The pads of one dimension, and what ceil_mode adds to them.
struct Pads {
  Var low, high, ceil;
};

Pads pads_of(Node n, const Window& w, std::size_t d) {
  const Var extent = extent_of(n.in(0), static_cast<int>(d) + 2), zero = number_of(n.graph, 0);
  const auto stride = static_cast<double>(w.windows.strides[d]);
  const auto covered = static_cast<double>((w.size[d] - 1) * w.windows.dilations[d] + 1);
  Pads pads{number_of(n.graph, w.windows.pad_low[d]), number_of(n.graph, w.windows.pad_high[d]), zero};
  const std::string automatic = n.text("auto_pad", "NOTSET");
  if (automatic == "VALID") pads.low = pads.high = zero;
  if (automatic == "SAME_UPPER" || automatic == "SAME_LOWER") {
    const Var count = div(extent + (stride - 1), stride);
    const Var total = maximum((count - 1.0) * stride + covered - extent, 0.0), half = div(total, 2.0);
    pads.low = automatic == "SAME_UPPER" ? half : total - half;
    pads.high = total - pads.low;
  }
  if (n.integer("ceil_mode", 0) != 0) {
    const Var room = extent + pads.low + pads.high - covered;
    const Var begun = div(room + (stride - 1), stride) * stride;  // where the last window would begin
    // It has to begin before the end of the input.
    const Var last = select(ge(begun, extent + pads.low), begun - stride, begun);
    pads.ceil = maximum(last - room, 0.0);
  }
  return {n.settled(pads.low), n.settled(pads.high), n.settled(pads.ceil)};
}

}  // namespace

std::int64_t Window::positions() const {
  std::int64_t product = 1;
  for (const std::int64_t extent : size) {
    if (__builtin_mul_overflow(product, extent, &product)) product = kLimit;
  }
  return product;
}

Windows plain_windows(Node n, const Ints& size) {
  const std::size_t rank = size.size();
  const Ints ones(rank, 1), pads = n.ints("pads", Ints(2 * rank, 0));
  Windows w{n.ints("strides", ones), {}, {}, n.ints("dilations", ones)};
  check(n, w.strides, "strides", rank, 1);
  check(n, w.dilations, "dilations", rank, 1);
  check(n, pads, "pads", 2 * rank, -kLimit);
  w.pad_low.assign(pads.begin(), pads.begin() + static_cast<std::ptrdiff_t>(rank));
  w.pad_high.assign(pads.begin() + static_cast<std::ptrdiff_t>(rank), pads.end());
  return w;
}

Window window_of(Node n, const Ints& size) {
  const std::size_t rank = size.size();
  Window w{size, plain_windows(n, size), Ints(rank, 0), {}, {}};
  std::vector<Pads> all;
  for (std::size_t d = 0; d < rank; ++d) all.push_back(pads_of(n, w, d));
  const bool told =
      std::ranges::all_of(all, [](const Pads& p) { return known(p.low) && known(p.high) && known(p.ceil); });
  for (std::size_t d = 0; d < rank; ++d) {
    const auto number = [&](Var amount) { return told ? static_cast<std::int64_t>(*known(amount)) : 0; };
    w.windows.pad_low[d] = number(all[d].low);
    w.windows.pad_high[d] = number(all[d].high);
    w.ceil_pad[d] = number(all[d].ceil);
    if (told) continue;
    const int axis = static_cast<int>(d) + 2;
    w.pads.push_back({axis, all[d].low, all[d].high});
    w.ceil_pads.push_back({axis, number_of(n.graph, 0), all[d].ceil});
  }
  return w;
}

Ints kernel_shape(Node n) { return check_size(n, n.ints("kernel_shape")); }

Ints kernel_shape_or_weights(Node n, Var weights) {
  const Shape& weight = weights.shape();
  Ints size = n.ints("kernel_shape");
  if (size.empty()) size.assign(weight.begin() + std::min(2, weight.rank()), weight.end());
  if (std::ranges::find(size, kUnknown) != size.end()) n.unsupported("a window of unknown size");
  return check_size(n, std::move(size));
}

}  // namespace ml::onnx
