#include "engine/formats/onnx/wire.h"

#include "ml/error.h"

namespace ml::onnx {
namespace {

constexpr int kMaxDepth = 64;
constexpr std::uint32_t kRawData = 9;
constexpr std::uint32_t kLiftedOffset = 100000;
constexpr std::uint32_t kLiftedLength = 100001;
constexpr std::uint32_t kSource = 100002;

enum class Message { model, function, graph, node, attribute, tensor, sparse, other };

// Which message a length-delimited field holds; `other` is copied as it is.
Message child(Message parent, std::uint32_t field) {
  switch (parent) {
    case Message::model:
      if (field == 7) return Message::graph;
      return field == 25 ? Message::function : Message::other;
    case Message::function:
      if (field == 7) return Message::node;
      return field == 11 ? Message::attribute : Message::other;
    case Message::graph:
      if (field == 1) return Message::node;
      if (field == 5) return Message::tensor;
      return field == 15 ? Message::sparse : Message::other;
    case Message::node: return field == 5 ? Message::attribute : Message::other;
    case Message::attribute:
      if (field == 5 || field == 10) return Message::tensor;
      if (field == 6 || field == 11) return Message::graph;
      return field == 22 ? Message::sparse : Message::other;
    case Message::sparse: return field == 1 || field == 2 ? Message::tensor : Message::other;
    case Message::tensor:
    case Message::other: break;
  }
  return Message::other;
}

class Lifter {
 public:
  Lifter(std::span<const std::byte> file, std::uint32_t source) : file_(file), source_(source) {}

  std::string message(Message kind, std::size_t at, std::size_t end, int depth) const {
    if (depth > kMaxDepth) fail(at, "messages nest deeper than " + std::to_string(kMaxDepth));
    std::string out;
    if (kind == Message::tensor && source_ != 0) {
      append_tag(out, kSource, 0);
      append_varint(out, source_);
    }
    while (at < end) {
      const std::size_t start = at;
      const std::uint64_t tag = varint(at, end);
      const auto field = static_cast<std::uint32_t>(tag >> 3);
      const auto wire_type = static_cast<std::uint32_t>(tag & 7);
      if (tag >> 32 != 0 || field == 0) fail(start, "a field number that cannot be");
      if (wire_type == 2) {
        const std::uint64_t length = varint(at, end);
        if (length > end - at)
          fail(start,
               "a field of " + std::to_string(length) + " bytes where " + std::to_string(end - at) + " are left");
        const auto size = static_cast<std::size_t>(length);
        const Message inner = child(kind, field);
        if (inner != Message::other) {
          const std::string slim = message(inner, at, at + size, depth + 1);
          append_length(out, field, slim.size());
          out += slim;
        } else if (kind == Message::tensor && field == kRawData && size >= kLiftBytes) {
          append_tag(out, kLiftedOffset, 0);
          append_varint(out, at);
          append_tag(out, kLiftedLength, 0);
          append_varint(out, size);
        } else {
          copy(out, start, at + size);
        }
        at += size;
        continue;
      }
      if (wire_type == 0)
        varint(at, end);
      else if (wire_type == 1)
        skip(at, end, 8);
      else if (wire_type == 5)
        skip(at, end, 4);
      else
        fail(start, "wire type " + std::to_string(wire_type));
      // What only we may write is not taken from a file.
      if (kind == Message::tensor && field >= kLiftedOffset && field <= kSource) continue;
      copy(out, start, at);
    }
    return out;
  }

 private:
  [[noreturn]] static void fail(std::size_t at, const std::string& what) {
    throw Error(Code::corrupt, "not a protobuf message: " + what, "byte " + std::to_string(at),
                "is this an ONNX file, and complete?");
  }

  std::uint64_t varint(std::size_t& at, std::size_t end) const {
    const std::size_t start = at;
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (at >= end) break;
      const auto byte = static_cast<std::uint64_t>(file_[at++]);
      value |= (byte & 0x7f) << shift;
      if ((byte & 0x80) == 0) return value;
    }
    fail(start, "a number that does not end");
  }

  static void skip(std::size_t& at, std::size_t end, std::size_t bytes) {
    if (bytes > end - at) fail(at, "it ends in the middle of a field");
    at += bytes;
  }

  void copy(std::string& out, std::size_t from, std::size_t to) const {
    out.append(reinterpret_cast<const char*>(file_.data()) + from, to - from);
  }

  std::span<const std::byte> file_;
  std::uint32_t source_;
};

}  // namespace

std::string lift_tensors(std::span<const std::byte> file, std::uint32_t source) {
  return Lifter(file, source).message(Message::model, 0, file.size(), 0);
}

void append_varint(std::string& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
}

void append_tag(std::string& out, std::uint32_t field, std::uint32_t wire_type) {
  append_varint(out, static_cast<std::uint64_t>(field) << 3 | wire_type);
}

void append_length(std::string& out, std::uint32_t field, std::uint64_t length) {
  append_tag(out, field, 2);
  append_varint(out, length);
}

}  // namespace ml::onnx
