// Mixing words into a 64-bit hash for tables in memory. Not for anything that an adversary may choose.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace ml {

inline std::uint64_t hash_combine(std::uint64_t seed, std::uint64_t word) noexcept {
  std::uint64_t x = (seed + 0x9e3779b97f4a7c15ull) ^ (word * 0xff51afd7ed558ccdull);
  x ^= x >> 32;
  x *= 0xd6e8feb86659fd93ull;
  return x ^ (x >> 29);
}
std::uint64_t hash_bytes(std::span<const std::byte> bytes) noexcept;

}  // namespace ml
