// Protobuf's wire format, as far as it takes to keep big tensors out of protobuf.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace ml::onnx {

// Tensors' raw_data from this size on stays in the file.
inline constexpr std::size_t kLiftBytes = 1024;

// The bytes of a ModelProto with every large raw_data replaced by lifted_offset and lifted_length, which point into
// `file`; each tensor says by its `source` in which file it was, unless that is 0. Throws corrupt, with the offset,
// where `file` is no protobuf message or nests deeper than 64.
std::string lift_tensors(std::span<const std::byte> file, std::uint32_t source);

// The other direction: appends one field to `out`.
void append_varint(std::string& out, std::uint64_t value);
void append_tag(std::string& out, std::uint32_t field, std::uint32_t wire_type);
void append_length(std::string& out, std::uint32_t field, std::uint64_t length);

}  // namespace ml::onnx
