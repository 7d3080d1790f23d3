// Both ends of a ring against pages full of hostile bytes. The input is a program of small steps: each scribbles over
// some page or lets one of the ends do something. An end may fault; nothing else may happen, and what an end believes
// must stay within the rules that the rest relies on.
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "engine/runtime/ring_memory.h"
#include "engine/runtime/worker_ring.h"
#include "libmlclient/transport/client_ring.h"
#include "libmlclient/transport/ring_mapping.h"

namespace {

using ml::runtime::TakenDescriptor;

constexpr uint32_t depth = 8;

void require(bool holds) {
  if (!holds) std::abort();
}

// One argument table in an arena of 4 KiB, as a worker reads it: copy, check, then touch what the checks allow.
void use_arguments(const mlring_descriptor& d, const std::vector<uint8_t>& arena) {
  if (d.argument_count == 0 || !mlring_table_ok(&d, arena.size())) return;
  for (uint32_t i = 0; i < d.argument_count; ++i) {
    mlring_argument a;
    mlring_copy_in(&a, arena.data() + d.argument_offset + i * sizeof a, sizeof a);
    if (mlring_check_argument(&a) != 0 || !mlring_range_ok(a.offset, a.capacity, arena.size())) continue;
    if (a.direction == MLRING_OUT) continue;
    uint64_t bytes = 0;
    require(mlring_tensor_bytes(a.dtype, a.rank, a.dims, &bytes) && bytes <= a.capacity);
    volatile uint8_t sum = 0;
    for (uint64_t at = 0; at < bytes; ++at) sum = static_cast<uint8_t>(sum + arena[a.offset + at]);
  }
}

struct Ring {
  Ring()
      : memory(depth),
        mapping(memory.memory_fd(), depth),
        worker(memory.worker_pages(), memory.wake_fd()),
        client(mapping.pages(), memory.doorbell_fd(), memory.wake_fd()) {
    mlring_compute_layout(&layout, depth, 4096);
    all = static_cast<uint8_t*>(mmap(nullptr, layout.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory.memory_fd(), 0));
    require(all != MAP_FAILED);
  }
  ~Ring() { munmap(all, layout.bytes); }

  void take(uint32_t count) {
    std::array<TakenDescriptor, depth> taken;
    const std::size_t n = worker.take(std::span(taken).first(count % depth + 1), 1);
    require(n <= depth);
    for (std::size_t i = 0; i < n; ++i) {
      require(mlring_check_descriptor(&taken[i].descriptor) == 0 && taken[i].slot < depth);
      use_arguments(taken[i].descriptor, arena);
      open.push_back(taken[i].slot);
    }
    require(open.size() <= depth && (worker.fault() != 0 || worker.in_flight() == open.size()));
  }

  void complete(uint32_t which, uint32_t length) {
    if (open.empty()) return;
    std::swap(open[which % open.size()], open.back());
    worker.complete(open.back(), {}, std::string(length * 64, 'm'));
    open.pop_back();
  }

  void poll() {
    ml::transport::Completion got{};
    std::string message;
    if (!client.poll(got, &message)) return;
    require(message.size() <= MLRING_MESSAGE_MAX && got.sequence >= MLRING_START &&
            got.sequence < client.next_sequence() && got.entry.user_data == 42);
  }

  // Where the words lie that matter most, so that the fuzzer need not find them.
  uint64_t word(uint32_t which) const {
    const uint64_t places[] = {
        offsetof(mlring_submission_header, tail),
        offsetof(mlring_submission_header, completion_head),
        offsetof(mlring_submission_header, needs_wake),
        offsetof(mlring_submission_header, wake_at),
        layout.completion_offset + offsetof(mlring_completion_header, completion_tail),
        layout.completion_offset + offsetof(mlring_completion_header, completed_sequence),
        layout.completion_offset + offsetof(mlring_completion_header, parked),
        layout.state_offset + offsetof(mlring_state, state),
        layout.state_offset + offsetof(mlring_state, notify_at),
        layout.completion_offset + layout.completions + which / 16 % depth * sizeof(mlring_completion),
        layout.completion_offset + layout.completions + which / 16 % depth * sizeof(mlring_completion) +
            offsetof(mlring_completion, sequence),
        layout.completion_offset + layout.completions + which / 16 % depth * sizeof(mlring_completion) +
            offsetof(mlring_completion, message_offset),
        layout.descriptors + which / 16 % depth * sizeof(mlring_descriptor) + offsetof(mlring_descriptor, opcode),
        layout.descriptors + which / 16 % depth * sizeof(mlring_descriptor) +
            offsetof(mlring_descriptor, argument_arena),
        layout.descriptors + which / 16 % depth * sizeof(mlring_descriptor) +
            offsetof(mlring_descriptor, argument_offset),
        layout.descriptors + which / 16 % depth * sizeof(mlring_descriptor) + offsetof(mlring_descriptor, operand),
    };
    return places[which % 16];
  }

  mlring_layout layout{};
  ml::runtime::RingMemory memory;
  ml::transport::RingMapping mapping;
  ml::runtime::WorkerRing worker;
  ml::transport::ClientRing client;
  uint8_t* all = nullptr;
  std::vector<uint8_t> arena = std::vector<uint8_t>(4096);
  std::vector<uint32_t> open;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Ring ring;
  const uint8_t* end = data + size;
  const auto next = [&](std::size_t bytes) {
    uint64_t value = 0;
    bytes = std::min<std::size_t>(bytes, static_cast<std::size_t>(end - data));
    std::memcpy(&value, data, bytes);
    data += bytes;
    return value;
  };
  while (end - data >= 3) {
    const uint64_t step = next(1), a = next(1), b = next(1);
    switch (step % 12) {
      case 0: {  // a word anywhere in the three pages
        const uint64_t at = next(3) % (ring.layout.bytes - 8);
        const uint64_t value = next(8);
        std::memcpy(ring.all + at, &value, 8);
        break;
      }
      case 1: {  // a small change of a word that matters
        uint32_t value = 0;
        std::memcpy(&value, ring.all + ring.word(static_cast<uint32_t>(a)), 4);
        value += static_cast<uint32_t>(static_cast<int8_t>(b));
        std::memcpy(ring.all + ring.word(static_cast<uint32_t>(a)), &value, 4);
        break;
      }
      case 2: {  // any value of a word that matters
        const uint64_t value = next(b % 8 + 1);
        std::memcpy(ring.all + ring.word(static_cast<uint32_t>(a)), &value, b % 8 + 1);
        break;
      }
      case 3: {  // the arena with its argument tables
        const uint64_t at = (a << 4) % (ring.arena.size() - 8) / 4 * 4;
        const uint64_t value = next(b % 8 + 1);
        std::memcpy(ring.arena.data() + at, &value, b % 8 + 1);
        break;
      }
      case 4: {  // an honest batch
        mlring_descriptor nop{};
        nop.user_data = 42;
        ring.client.submit(std::vector<mlring_descriptor>(a % (depth + 2), nop));
        break;
      }
      case 5: {  // an honest descriptor of any form
        mlring_descriptor d{};
        d.user_data = 42;
        d.opcode = static_cast<uint32_t>(a % 10);
        d.flags = b % 4;
        d.handle = {static_cast<uint32_t>(next(1)), static_cast<uint32_t>(next(1))};
        d.argument_count = static_cast<uint32_t>(next(1) % 40);
        d.argument_arena = d.argument_count != 0;
        d.argument_offset = next(2) % 4096;
        ring.client.submit(d);
        break;
      }
      case 6: ring.take(static_cast<uint32_t>(a)); break;
      case 7: ring.complete(static_cast<uint32_t>(a), static_cast<uint32_t>(b)); break;
      case 8: ring.worker.publish(); break;
      case 9: ring.poll(); break;
      case 10:
        if (a % 2 == 0)
          ring.worker.park();
        else
          ring.worker.unpark();
        ring.worker.pending();
        break;
      case 11:
        ring.client.wait({.completions = static_cast<uint32_t>(a % depth + 1), .deadline = 1, .long_work = true});
        ring.client.completed_sequence();
        require(ring.client.credits() <= depth);
        break;
    }
  }
  return 0;
}
