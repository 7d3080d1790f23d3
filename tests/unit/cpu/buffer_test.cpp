// Large memory of the cpu: where huge pages may be, no larger than it has to be.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "engine/backends/cpu/cpu_device.h"

namespace ml::cpu {
namespace {

constexpr std::size_t kMegabyte = std::size_t{1} << 20;

std::size_t mapped_bytes() {
  std::size_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  return pages * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

TEST(CpuBuffer, BeginsAtAHugePage) {
  for (const std::size_t size : {2 * kMegabyte, 3 * kMegabyte + 5, 9 * kMegabyte}) {
    const CpuBuffer buffer(size);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % (2 * kMegabyte), 0U) << size;
  }
}

// What the system was told of the mapping around an address: the flags of its line in smaps.
std::string mapping_flags(const std::byte* address) {
  std::ifstream maps("/proc/self/smaps");
  const auto wanted = reinterpret_cast<std::uintptr_t>(address);
  bool inside = false;
  for (std::string line; std::getline(maps, line);) {
    std::uintptr_t begin = 0, end = 0;
    char dash = 0;
    if (std::istringstream(line) >> std::hex >> begin >> dash >> end && dash == '-')
      inside = begin <= wanted && wanted < end;
    if (inside && line.starts_with("VmFlags:")) return line;
  }
  return {};
}

TEST(CpuBuffer, IsOfferedHugePagesWhenItIsAskedTo) {
  const CpuBuffer buffer(4 * kMegabyte);
  ASSERT_NE(mapping_flags(buffer.data()), "");
  EXPECT_EQ(mapping_flags(buffer.data()).find(" hg"), std::string::npos);
  buffer.offer_huge_pages();
  EXPECT_EQ(mapping_flags(buffer.data()).find(" hg") != std::string::npos,
            std::filesystem::exists("/sys/kernel/mm/transparent_hugepage"));
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
  const std::size_t before = mapped_bytes();
  {
    std::vector<std::unique_ptr<CpuBuffer>> buffers;
    for (int i = 0; i < 8; ++i) buffers.push_back(std::make_unique<CpuBuffer>(3 * kMegabyte + 5));
    EXPECT_LT(mapped_bytes() - before, 8 * 3 * kMegabyte + kMegabyte);
  }
  EXPECT_LT(mapped_bytes(), before + kMegabyte);
}

}  // namespace
}  // namespace ml::cpu
