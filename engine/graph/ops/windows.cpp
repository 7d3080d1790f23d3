#include "engine/graph/ops/windows.h"

namespace ml::rules {
namespace {

// What padding, strides and dilations stay below, so that positions never overflow.
constexpr std::int64_t kLimit = std::int64_t{1} << 31;

void check_list(const InferArguments& a, const Ints& list, const char* name, std::size_t length, std::int64_t least) {
  if (list.size() != length) {
    fail(a, std::string(name) + " has " + std::to_string(list.size()) + " entries for " + std::to_string(length) +
                " spatial dimensions");
  }
  for (const std::int64_t entry : list) {
    if (entry < least || entry >= kLimit) {
      fail(a, std::string(name) + " cannot be " + std::to_string(entry) + ", only " + std::to_string(least) +
                  " or more and below 2^31");
    }
  }
}

}  // namespace

void check_windows(const InferArguments& a, const Windows& windows, int spatial_rank) {
  const auto length = static_cast<std::size_t>(spatial_rank);
  check_list(a, windows.strides, "strides", length, 1);
  check_list(a, windows.pad_low, "pad_low", length, 0);
  check_list(a, windows.pad_high, "pad_high", length, 0);
  check_list(a, windows.dilations, "dilations", length, 1);
}

std::int64_t window_count(const InferArguments& a, const Windows& windows, int d, std::int64_t extent,
                          std::int64_t size) {
  if (extent == kUnknown || size == kUnknown) return kUnknown;
  const auto i = static_cast<std::size_t>(d);
  if (size < 1 || size >= kLimit || extent >= kLimit) {
    fail(a, "windows of " + std::to_string(size) + " positions over an extent of " + std::to_string(extent) +
                " in spatial dimension " + std::to_string(d));
  }
  const std::int64_t padded = extent + windows.pad_low[i] + windows.pad_high[i];
  const std::int64_t reach = (size - 1) * windows.dilations[i] + 1;
  if (reach > padded) {
    fail(a,
         "the window covers " + std::to_string(reach) + " positions of spatial dimension " + std::to_string(d) +
             ", which has " + std::to_string(extent) + " and " + std::to_string(padded - extent) + " of padding",
         "use a smaller window or more padding");
  }
  return (padded - reach) / windows.strides[i] + 1;
}

}  // namespace ml::rules
