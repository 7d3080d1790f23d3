// Philox bits, block by block; graph/ops/random.h says which.
#include "engine/backends/cpu/axis_view.h"
#include "engine/backends/cpu/cpu_device.h"
#include "engine/backends/cpu/partition.h"
#include "engine/graph/ops/random.h"

namespace ml::cpu {
namespace {

constexpr double kBlocksPerPart = 4096;

std::unique_ptr<Kernel> compile(const KernelRequest& request, PackCache&) {
  const std::int64_t elements = request.outputs[0].type.shape.elements();
  return make_kernel([elements](CpuStream& stream, Spans inputs, Spans outputs, std::byte*) {
    const auto* const state = data_of<std::uint64_t>(inputs[0]);
    const std::uint64_t key = state[0], counter = state[1];
    const std::int64_t blocks = elements / 4 + (elements % 4 != 0 ? 1 : 0);
    if (auto* const bits = data_of<std::uint32_t>(outputs[0])) {
      const std::int64_t parts = part_count(static_cast<double>(blocks), kBlocksPerPart, blocks);
      stream.pool().parallel_for(parts, [&](std::int64_t part) {
        const Range range = range_of(blocks, parts, part);
        for (std::int64_t block = range.begin; block < range.end; ++block) {
          const PhiloxWords words = random_block(key, counter, static_cast<std::uint64_t>(block));
          const std::int64_t count = std::min<std::int64_t>(4, elements - block * 4);
          for (std::int64_t i = 0; i < count; ++i) bits[block * 4 + i] = words[static_cast<std::size_t>(i)];
        }
      });
    }
    if (auto* const next = data_of<std::uint64_t>(outputs[1])) {
      next[0] = key;
      next[1] = counter + static_cast<std::uint64_t>(blocks);
    }
  });
}

constexpr Implementation kTable[] = {
    {.op = "random_bits", .kernel = "philox", .refuse = refuse_strided, .compile = compile},
};

}  // namespace

std::span<const Implementation> random_implementations() { return kTable; }

}  // namespace ml::cpu
