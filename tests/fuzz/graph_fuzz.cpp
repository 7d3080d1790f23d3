// Any bytes either are a graph that survives both forms, or are refused with an error.
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "engine/graph/binary.h"
#include "engine/graph/text.h"
#include "ml/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::array<std::shared_ptr<const ml::Blob>, 2> blobs = {
      ml::Blob::copy_of(std::array<std::byte, 64>{}), ml::Blob::copy_of(std::array<std::byte, 10000>{})};
  ml::Graph graph;
  try {
    graph = ml::deserialize(std::as_bytes(std::span(data, size)), blobs);
  } catch (const ml::Error&) {
    return 0;
  }
  const ml::BinaryGraph written = ml::serialize(graph);
  if (!ml::equal(ml::deserialize(written.bytes, written.blobs), graph)) std::abort();
  if (!ml::equal(ml::parse(ml::print(graph), blobs), graph)) std::abort();
  return 0;
}
