#include "engine/graph/ops/random.h"

#include "engine/backends/reference/kernel.h"

namespace ml::reference {
namespace {

void random_bits(const Call& call) {
  const std::vector<std::uint64_t> state = load<std::uint64_t>(call.inputs[0]);
  const std::uint64_t key = state[0], counter = state[1];
  std::vector<std::uint64_t> words(static_cast<std::size_t>(call.outputs[0].elements()));
  for (std::size_t i = 0; i < words.size(); ++i) words[i] = random_block(key, counter, i / 4)[i % 4];
  store(call.outputs[0], words);
  store(call.outputs[1], std::vector<std::uint64_t>{key, counter + (words.size() + 3) / 4});
}

constexpr Row kRows[] = {{"random_bits", random_bits}};

}  // namespace

std::span<const Row> random_rows() { return kRows; }

}  // namespace ml::reference
