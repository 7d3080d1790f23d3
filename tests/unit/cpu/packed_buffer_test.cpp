// Memory of packed constants: side by side, moved to huge pages once it is complete, given back when it goes.
#include "engine/backends/cpu/packed_buffer.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "tests/unit/cpu/mappings.h"

namespace ml::cpu {
namespace {

constexpr int kCollapse = 25;  // MADV_COLLAPSE

using Buffers = std::vector<std::shared_ptr<PackedBuffer>>;

// Fills `buffer` with what tells its bytes apart.
void write(PackedBuffer& buffer, std::size_t seed) {
  for (std::size_t i = 0; i < buffer.size(); ++i) buffer.data()[i] = static_cast<std::byte>((i * 31 + seed) % 251);
}
bool holds(const PackedBuffer& buffer, std::size_t seed) {
  for (std::size_t i = 0; i < buffer.size(); ++i) {
    if (buffer.data()[i] != static_cast<std::byte>((i * 31 + seed) % 251)) return false;
  }
  return true;
}

int move_all() {
  int moved = 0;
  while (move_to_huge_page()) ++moved;
  return moved;
}

// Whether this system moves memory to a huge page when it is asked to, now.
bool moves_pages() {
  const CpuBuffer memory(2 * kHugePage);
  std::fill_n(memory.data(), memory.size(), std::byte{1});
  return madvise(memory.data(), kHugePage, kCollapse) == 0;
}

TEST(PackedBuffer, IsZeroAlignedAndItsOwn) {
  PackCache packs(1);
  Buffers buffers;
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{63}, std::size_t{64}, 100 * kMegabyte / 64,
                                 kMegabyte, 3 * kMegabyte + 5, 9 * kMegabyte, 40 * kMegabyte + 1}) {
    buffers.push_back(PackedBuffer::make(packs, size));
    const PackedBuffer& made = *buffers.back();
    ASSERT_EQ(made.size(), size);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(made.data()) % 64, 0U);
    EXPECT_TRUE(std::all_of(made.data(), made.data() + size, [](std::byte b) { return b == std::byte{0}; })) << size;
    write(*buffers.back(), buffers.size());
  }
  for (std::size_t i = 0; i < buffers.size(); ++i) EXPECT_TRUE(holds(*buffers[i], i + 1)) << i;
}

TEST(PackedBuffer, MovesToHugePagesWhenAllInThemIsComplete) {
  move_all();
  PackCache packs(1);
  Buffers buffers;  // of 40 MB, so that a chunk is filled to its end
  for (std::size_t i = 0; i < 80; ++i) {
    buffers.push_back(PackedBuffer::make(packs, kMegabyte / 2));
    write(*buffers.back(), i);
  }
  EXPECT_EQ(move_all(), 0) << "nothing is complete";
  for (std::size_t i = 0; i < buffers.size(); i += 2) buffers[i]->complete();
  EXPECT_EQ(move_all(), 0) << "beside each complete one there is another that isn't";
  for (std::size_t i = 1; i < buffers.size(); i += 2) buffers[i]->complete();
  const int moved = move_all();
  EXPECT_GE(moved, 18) << "all but the ends";
  EXPECT_LE(moved, 20);
  std::size_t huge = 0;
  for (const auto& buffer : buffers) huge += huge_bytes(buffer->data(), buffer->size()) != 0 ? buffer->size() : 0;
  EXPECT_GE(huge, moves_pages() ? 18 * kHugePage : 0);
  for (std::size_t i = 0; i < buffers.size(); ++i) EXPECT_TRUE(holds(*buffers[i], i)) << i;
}

TEST(PackedBuffer, GoesWithItsProgram) {
  move_all();
  const std::size_t mapped = process_bytes(), resident = process_bytes(true);
  {
    PackCache one(1), other(1);
    Buffers buffers;
    for (std::size_t i = 0; i < 1000; ++i) {
      buffers.push_back(PackedBuffer::make(i % 2 == 0 ? one : other, i % 3 == 0 ? 1000 : 128 * 1024));
      write(*buffers.back(), i);
      buffers.back()->complete();
    }
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(move_to_huge_page());
    EXPECT_GT(process_bytes(true), resident + 60 * kMegabyte);
  }
  EXPECT_FALSE(move_to_huge_page()) << "what has gone is not moved";
  EXPECT_LT(process_bytes(), mapped + kMegabyte);
  EXPECT_LT(process_bytes(true), resident + kMegabyte);
}

// A plan keeps its packs, whatever becomes of the program's cache.
TEST(PackedBuffer, StaysAsLongAsItIsHeld) {
  std::shared_ptr<PackedBuffer> held;
  {
    PackCache packs(1);
    for (int i = 0; i < 3; ++i) held = PackedBuffer::make(packs, kMegabyte);
    write(*held, 7);
    held->complete();
  }
  EXPECT_TRUE(holds(*held, 7));
}

TEST(PackedBuffer, IsMadeAndMovedByManyThreads) {
  std::atomic<bool> ended{false};
  std::thread mover([&] {
    while (!ended) move_to_huge_page();
  });
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (std::size_t thread = 0; thread < 3; ++thread) {
    threads.emplace_back([&, thread] {
      for (int round = 0; round < 4; ++round) {
        PackCache packs(1);
        Buffers buffers;
        for (std::size_t i = 0; i < 40; ++i) {
          buffers.push_back(PackedBuffer::make(packs, (i * 37 + thread) % 9 * 40000 + 1));
          write(*buffers.back(), i);
          buffers.back()->complete();
        }
        for (std::size_t i = 0; i < buffers.size(); ++i) wrong += holds(*buffers[i], i) ? 0 : 1;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  ended = true;
  mover.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace ml::cpu
