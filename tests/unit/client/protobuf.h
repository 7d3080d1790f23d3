// Protobuf by hand: the client knows nothing of it.
#pragma once

#include <cstdint>
#include <string>

namespace ml {

inline std::string varint(std::uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes.push_back(static_cast<char>(value | 0x80));
  bytes.push_back(static_cast<char>(value));
  return bytes;
}
inline std::string field(unsigned number, const std::string& bytes) {
  return varint(number << 3 | 2) + varint(bytes.size()) + bytes;
}
inline std::string field(unsigned number, std::uint64_t value) { return varint(number << 3) + varint(value); }
inline std::string float_field(unsigned number, float value) {
  return varint(number << 3 | 5) + std::string(reinterpret_cast<const char*>(&value), sizeof(value));
}

}  // namespace ml
