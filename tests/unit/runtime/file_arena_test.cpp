// Programs made of a mapped file: weights that nobody copies, and how long the file stays mapped.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string>

#include "ml/error.h"
#include "tests/unit/runtime/client.h"

namespace ml {
namespace {

using namespace test;
using Floats = std::vector<float>;

// x [2, kDepth] times weights that lie at an odd place of the file.
constexpr std::int64_t kDepth = 96, kColumns = 200;
constexpr std::uint64_t kAt = 4097;

class FileArena : public testing::TestWithParam<const char*> {
 protected:
  FileArena() : client(std::string(GetParam()) == "cpu" ? create_cpu_device(2) : create_reference_device()) {
    const int fd = memfd_create("weights", MFD_CLOEXEC);
    for (std::int64_t i = 0; i < kDepth * kColumns; ++i) weights.push_back(static_cast<float>(i % 17 - 8));
    bytes = (kAt + weights.size() * sizeof(float) + 4095) / 4096 * 4096;
    if (ftruncate(fd, static_cast<off_t>(bytes)) != 0 ||
        pwrite(fd, weights.data(), weights.size() * sizeof(float), kAt) < 0)
      throw std::runtime_error("cannot write a file");
    void* const base = mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    mapping = std::shared_ptr<void>(base, [this](void* at) { munmap(at, bytes); });
    still_mapped = mapping;
    arena = client.worker.add_file(client.session, base, bytes, mapping);
    graph.add_output(
        "y", matmul(input(graph, "x", DType::f32, {kUnknown, kDepth}),
                    constant(graph, std::make_shared<ConstantData>(ConstantData{
                                        DType::f32,
                                        {kDepth, kColumns},
                                        std::make_shared<const Blob>(
                                            std::span(static_cast<const std::byte*>(base), bytes), mapping, "file"),
                                        kAt})))
                 .id);
  }

  // COMPILE, whose blob is the whole file.
  mlring_handle load(TestQueue& queue) {
    const BinaryGraph binary = serialize(graph);
    mlring_argument file = client.argument(MLRING_IN, DType::u8, {static_cast<std::int64_t>(bytes)}, 0);
    file.arena = arena;
    const Answer answer = queue.run(client.with_arguments(
        MLRING_OP_COMPILE, {client.argument(MLRING_IN, DType::u8, {static_cast<std::int64_t>(binary.bytes.size())},
                                            client.put(binary.bytes)),
                            file}));
    EXPECT_EQ(answer.status(), MLRING_OK) << answer.message;
    return answer.completion.result;
  }
  void check(TestQueue& queue, mlring_handle program, std::int64_t rows) {
    Floats x;
    for (std::int64_t i = 0; i < rows * kDepth; ++i) x.push_back(static_cast<float>(i % 5 - 2));
    const std::uint64_t y = client.reserve(static_cast<std::uint64_t>(rows * kColumns) * sizeof(float));
    const Answer answer =
        queue.run(client.execute(program, {client.argument(MLRING_IN, DType::f32, {rows, kDepth}, client.put(x)),
                                           client.argument(MLRING_OUT, DType::f32, {rows, kColumns}, y)}));
    ASSERT_EQ(answer.status(), MLRING_OK) << answer.message;
    const Floats got = client.get(y, static_cast<std::size_t>(rows * kColumns));
    for (std::int64_t i = 0; i < rows * kColumns; ++i) {
      float sum = 0;
      for (std::int64_t k = 0; k < kDepth; ++k)
        sum += x[static_cast<std::size_t>(i / kColumns * kDepth + k)] *
               weights[static_cast<std::size_t>(k * kColumns + i % kColumns)];
      ASSERT_EQ(got[static_cast<std::size_t>(i)], sum) << "element " << i << " of " << rows << " rows";
    }
  }
  // Pages of the file that this process has in memory.
  std::size_t pages_in_memory() const {
    FILE* const map = std::fopen("/proc/self/pagemap", "rb");
    std::vector<std::uint64_t> entries(bytes / 4096);
    std::fseek(map, static_cast<long>(reinterpret_cast<std::uintptr_t>(mapping.get()) / 4096 * 8), SEEK_SET);
    EXPECT_EQ(std::fread(entries.data(), 8, entries.size(), map), entries.size());
    std::fclose(map);
    return static_cast<std::size_t>(
        std::ranges::count_if(entries, [](std::uint64_t entry) { return entry >> 63 != 0; }));
  }

  TestClient client;
  Floats weights;
  std::size_t bytes = 0;
  std::shared_ptr<void> mapping;
  std::weak_ptr<void> still_mapped;
  std::uint32_t arena = 0;
  Graph graph;
};
INSTANTIATE_TEST_SUITE_P(Devices, FileArena, testing::Values("reference", "cpu"),
                         [](const auto& instance) { return std::string(instance.param); });

TEST_P(FileArena, StaysMappedUntilItsProgramIsGone) {
  TestQueue queue(client.worker, client.session);
  const mlring_handle program = load(queue);
  client.worker.remove_arena(client.session, arena);
  graph = {};
  mapping.reset();
  EXPECT_FALSE(still_mapped.expired());
  check(queue, program, 3);
  check(queue, program, 1);
  EXPECT_EQ(queue.run(descriptor_of(MLRING_OP_FREE, 0, program)).status(), MLRING_OK);
  client.worker.destroy_queue(queue.queue());
  queue.release();
}

TEST_P(FileArena, MayOnlyBeRead) {
  TestQueue queue(client.worker, client.session);
  const mlring_handle program = load(queue);
  const mlring_argument x = client.argument(MLRING_IN, DType::f32, {1, kDepth}, client.put(Floats(kDepth, 1)));
  mlring_argument y = client.argument(MLRING_OUT, DType::f32, {1, kColumns}, 0);
  y.arena = arena;
  Answer answer = queue.run(client.execute(program, {x, y}));
  EXPECT_EQ(answer.status(), MLRING_INVALID_ARGUMENT);
  EXPECT_NE(answer.message.find("may only be read"), std::string::npos) << answer.message;
  mlring_descriptor table = client.execute(program, {x, y});
  table.argument_arena = arena;
  table.argument_offset = 0;
  answer = queue.run(table);
  EXPECT_EQ(answer.status(), MLRING_INVALID_ARGUMENT);
  EXPECT_NE(answer.message.find("may only be read"), std::string::npos) << answer.message;
}

TEST_P(FileArena, LeavesMemoryOnceItsWeightsArePacked) {
  TestQueue queue(client.worker, client.session);
  const mlring_handle program = load(queue);
  check(queue, program, 2);
  // Those that hold something else too stay. The reference device copies constants and keeps nothing of the file
  // either.
  EXPECT_LE(pages_in_memory(), 3u) << "of " << bytes / 4096;
  check(queue, program, 1);
}

}  // namespace
}  // namespace ml
