// Large memory of the cpu: where huge pages may be, no larger than it has to be.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "engine/backends/cpu/cpu_device.h"
#include "tests/unit/cpu/mappings.h"

namespace ml::cpu {
namespace {

TEST(CpuBuffer, BeginsAtAHugePage) {
  for (const std::size_t size : {2 * kMegabyte, 3 * kMegabyte + 5, 9 * kMegabyte}) {
    const CpuBuffer buffer(size);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % (2 * kMegabyte), 0U) << size;
  }
}

TEST(CpuBuffer, IsZeroAndCanBeWrittenToItsEnd) {
  for (const std::size_t size : {std::size_t{1}, kMegabyte - 1, kMegabyte, 2 * kMegabyte, 3 * kMegabyte + 5}) {
    const CpuBuffer buffer(size);
    EXPECT_TRUE(std::all_of(buffer.data(), buffer.data() + size, [](std::byte b) { return b == std::byte{0}; }))
        << size;
    std::fill_n(buffer.data(), size, std::byte{1});
  }
}

TEST(CpuBuffer, LeavesNothingMappedAroundItOrBehind) {
  const std::size_t before = process_bytes();
  {
    std::vector<std::unique_ptr<CpuBuffer>> buffers;
    for (int i = 0; i < 8; ++i) buffers.push_back(std::make_unique<CpuBuffer>(3 * kMegabyte + 5));
    EXPECT_LT(process_bytes() - before, 8 * 3 * kMegabyte + kMegabyte);
  }
  EXPECT_LT(process_bytes(), before + kMegabyte);
}

}  // namespace
}  // namespace ml::cpu
