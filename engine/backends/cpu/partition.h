// How work is cut into parts: by size alone, so that results do not depend on how many threads there are, unless every
// cut gives the same bits.
#pragma once

#include <algorithm>
#include <cstdint>

namespace ml::cpu {

// Parts of at least `grain` units each, at most `most`, at least one.
inline std::int64_t part_count(double work, double grain, std::int64_t most) {
  const double parts = std::min(work / grain, 64.0);
  return std::clamp<std::int64_t>(static_cast<std::int64_t>(parts), 1, std::max<std::int64_t>(most, 1));
}

// Part `part` of [0, extent) cut into `parts`, with boundaries at multiples of `unit`.
struct Range {
  std::int64_t begin, end;
  std::int64_t size() const { return end - begin; }
};
inline Range range_of(std::int64_t extent, std::int64_t parts, std::int64_t part, std::int64_t unit = 1) {
  const std::int64_t units = (extent + unit - 1) / unit;
  return {std::min(units * part / parts * unit, extent), std::min(units * (part + 1) / parts * unit, extent)};
}

inline Range range_of(Range all, std::int64_t parts, std::int64_t part) {
  const Range range = range_of(all.size(), parts, part);
  return {all.begin + range.begin, all.begin + range.end};
}

// What falls to `some` of `all` when [0, extent) is shared out evenly among them.
inline Range share_of(std::int64_t extent, Range all, Range some) {
  return {extent * (some.begin - all.begin) / all.size(), extent * (some.end - all.begin) / all.size()};
}

// Into how many pieces each of `parts` is cut so that threads have about as much to do, where pieces cost something and
// every cut gives the same bits.
inline std::int64_t pieces_for(std::int64_t parts, int threads, std::int64_t most) {
  return parts % threads == 0 ? 1 : std::clamp<std::int64_t>(4 * threads / parts, 1, most);
}

constexpr std::size_t aligned_size(std::size_t bytes) { return (bytes + 63) / 64 * 64; }

}  // namespace ml::cpu
