// Any text either parses to a graph that prints and reads back to the same, or is refused with an error.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "engine/graph/text.h"
#include "ml/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ml::Graph graph;
  try {
    graph = ml::parse({reinterpret_cast<const char*>(data), size});
  } catch (const ml::Error&) {
    return 0;
  }
  if (!ml::equal(ml::parse(ml::print(graph)), graph)) std::abort();
  return 0;
}
