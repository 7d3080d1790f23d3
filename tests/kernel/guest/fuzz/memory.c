// Mappings of queues and buffers, and what is written there.
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz/fuzz.h"
#include "support/tap.h"

// Words that somebody reads: one step on from what is there, times, or anything.
static void scribble(struct Fuzzer* f, char* at, size_t bytes) {
  static const size_t words[] = {0, 8, 128, 256, 264, 272};
  for (unsigned i = 0; i < 3; i++) {
    if (chance(f, 5)) {
      MLRING_STORE((uint64_t*)(void*)(at + 8 * below(f, bytes / 8)), hostile(f));
      continue;
    }
    const size_t offset = words[below(f, sizeof words / sizeof words[0])];
    uint64_t* wide = (uint64_t*)(void*)(at + offset);
    uint32_t* narrow = (uint32_t*)(void*)(at + offset);
    const uint64_t step = chance(f, 97) ? below(f, 3) : hostile(f);
    if (offset == 0 || offset == 128 || offset == 256)
      MLRING_STORE(narrow, MLRING_LOAD(narrow) + (uint32_t)step);
    else
      MLRING_STORE(wide, MLRING_LOAD(wide) + step);
  }
}

static void keep_mapping(struct Fuzzer* f, void* at, size_t bytes) {
  struct Mapping* m = &f->mappings[below(f, sizeof f->mappings / sizeof f->mappings[0])];
  if (m->at != NULL) munmap(m->at, m->bytes);
  *m = (struct Mapping){.at = at, .bytes = bytes};
}

static int map_and_scribble(struct Fuzzer* f, int fd, uint64_t offset) {
  const size_t bytes = chance(f, 90) ? 4096 : (1 + below(f, 64)) << 12;
  const bool writes = chance(f, 60);
  const int protection = PROT_READ | (writes ? PROT_WRITE : 0) | (chance(f, 3) ? PROT_EXEC : 0);
  char* at = mmap(NULL, bytes, protection, chance(f, 97) ? MAP_SHARED : MAP_PRIVATE, fd, (off_t)offset);
  if (at == MAP_FAILED) return -errno;
  if (writes) scribble(f, at, 4096);
  volatile char last = at[bytes - 1];
  (void)last;
  keep_mapping(f, at, bytes);
  return 0;
}

static uint64_t part_of_queue(struct Fuzzer* f) {
  struct mlring_layout l;
  if (chance(f, 5) || !mlring_compute_layout(&l, 2u << below(f, 6), 4096)) return hostile(f) & ~4095ull;
  const uint64_t offsets[] = {l.submission_offset, l.submission_offset, l.completion_offset, l.state_offset};
  return offsets[below(f, 4)];
}

static int map_as_client(struct Fuzzer* f) { return map_and_scribble(f, pick_fd(f, QUEUE_FD), part_of_queue(f)); }

static int map_as_worker(struct Fuzzer* f) {
  return map_and_scribble(f, pick_fd(f, WORKER_FD), (pick_number(f, QUEUE_OFFSET) + part_of_queue(f)) & ~4095ull);
}

static int map_a_buffer(struct Fuzzer* f) {
  return map_and_scribble(f, pick_fd(f, NODE_FD), pick_number(f, BUFFER_OFFSET) & ~4095ull);
}

static int map_a_dmabuf(struct Fuzzer* f) { return map_and_scribble(f, pick_fd(f, DMABUF_FD), 0); }

static int change_a_mapping(struct Fuzzer* f) {
  struct Mapping* m = &f->mappings[below(f, sizeof f->mappings / sizeof f->mappings[0])];
  if (m->at == NULL) return -ENOENT;
  if (chance(f, 30))
    return mprotect(m->at, m->bytes, (int)below(f, 8)) < 0 ? -errno : mprotect(m->at, m->bytes, PROT_READ);
  if (chance(f, 30)) return madvise(m->at, m->bytes, chance(f, 50) ? MADV_DONTNEED : MADV_DONTFORK) < 0 ? -errno : 0;
  const size_t bytes = chance(f, 50) ? m->bytes : m->bytes + 4096;
  void* at = mremap(m->at, m->bytes, bytes, MREMAP_MAYMOVE);
  if (at == MAP_FAILED) return -errno;
  *m = (struct Mapping){.at = at, .bytes = bytes};
  return 0;
}

static int unmap_something(struct Fuzzer* f) {
  keep_mapping(f, NULL, 0);
  return 0;
}

const struct Operation memory_operations[] = {
    {"mmap of a queue", 60, map_as_client},
    {"mmap of a worker's queue", 60, map_as_worker},
    {"mmap of a buffer", 20, map_a_buffer},
    {"mmap of a dma-buf", 10, map_a_dmabuf},
    {"mprotect, madvise, mremap", 10, change_a_mapping},
    {"munmap", 10, unmap_something},
};
const size_t memory_operation_count = sizeof memory_operations / sizeof memory_operations[0];
