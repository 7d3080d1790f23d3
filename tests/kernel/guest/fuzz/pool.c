#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "fuzz/fuzz.h"
#include "support/process.h"
#include "support/tap.h"

uint64_t below(struct Fuzzer* f, uint64_t bound) { return random_below(&f->seed, bound); }

bool chance(struct Fuzzer* f, unsigned percent) { return below(f, 100) < percent; }

uint64_t hostile(struct Fuzzer* f) {
  static const uint64_t values[] = {
      0,      1,          2,          3,          7,          8,          4095,       4096,           4097,
      0x7fff, 0x8000,     0xffff,     1u << 20,   1u << 24,   0x7fffffff, 0x80000000, MLRING_START,   MLRING_START + 1,
      ~0u,    1ull << 32, 1ull << 40, 1ull << 46, 1ull << 47, 1ull << 63, INT64_MAX,  UINT64_MAX - 1, UINT64_MAX};
  return chance(f, 80) ? values[below(f, sizeof values / sizeof values[0])] : next_random(&f->seed);
}

unsigned device_of(const struct Fuzzer* f) { return f->slot % devices; }

static unsigned slot_of_fd(const struct Fuzzer* f, enum Kind kind) {
  return kind == CONTROL_FD ? 0 : kind == WORKER_FD ? device_of(f) : f->slot;
}

static unsigned slot_of_number(const struct Fuzzer* f, enum Name name) {
  const bool of_client = name == HANDLE || name == CONTEXT || name == QUEUE || name == SYNCOBJ || name == POINT ||
                         name == BUFFER_OFFSET || name == QUEUE_OFFSET;
  return of_client ? f->slot : device_of(f);
}

int pick_fd(struct Fuzzer* f, enum Kind kind) {
  const enum Kind of = chance(f, 98) ? kind : (enum Kind)below(f, KINDS);
  const unsigned slot = chance(f, 92) ? slot_of_fd(f, of) : (unsigned)below(f, slots);
  return __atomic_load_n(&f->shared->fds[of][slot], __ATOMIC_RELAXED);
}

void keep_fd(struct Fuzzer* f, enum Kind kind, int fd) {
  // An answer that was cut off tells of no descriptor.
  if (fd <= STDERR_FILENO) return;
  const int before = __atomic_exchange_n(&f->shared->fds[kind][slot_of_fd(f, kind)], fd, __ATOMIC_RELAXED);
  if (before >= 0) close(before);
}

int take_fd(struct Fuzzer* f, enum Kind kind) {
  return __atomic_exchange_n(&f->shared->fds[kind][slot_of_fd(f, kind)], -1, __ATOMIC_RELAXED);
}

uint64_t pick_number(struct Fuzzer* f, enum Name name) {
  if (chance(f, 5)) return hostile(f);
  const unsigned slot = chance(f, 92) ? slot_of_number(f, name) : (unsigned)below(f, slots);
  const unsigned age = chance(f, 70) ? 0 : (unsigned)below(f, remembered);
  return __atomic_load_n(&f->shared->numbers[name][slot][age], __ATOMIC_RELAXED);
}

void keep_number(struct Fuzzer* f, enum Name name, uint64_t number) {
  uint64_t* of_slot = f->shared->numbers[name][slot_of_number(f, name)];
  const uint64_t latest = __atomic_load_n(&of_slot[0], __ATOMIC_RELAXED);
  __atomic_store_n(&of_slot[1 + below(f, remembered - 1)], latest, __ATOMIC_RELAXED);
  __atomic_store_n(&of_slot[0], number, __ATOMIC_RELAXED);
}

static void mutate(struct Fuzzer* f, char* bytes, size_t size) {
  const uint64_t value = hostile(f);
  if (size >= 8 && chance(f, 50))
    memcpy(bytes + 8 * below(f, size / 8), &value, 8);
  else if (size >= 4)
    memcpy(bytes + 4 * below(f, size / 4), &value, 4);
}

int fuzz_call(struct Fuzzer* f, int fd, unsigned long request, void* argument) {
  char bytes[1024];
  const size_t size = _IOC_SIZE(request);
  memset(bytes, 0, sizeof bytes);
  memcpy(bytes, argument, size);
  if (chance(f, 6)) mutate(f, bytes, size);
  if (chance(f, 2)) mutate(f, bytes, size + 64);
  if (chance(f, 2)) {
    const size_t other = chance(f, 50) ? below(f, sizeof bytes) : size + 8;
    request = _IOC(_IOC_DIR(request), _IOC_TYPE(request), _IOC_NR(request), other);
  }
  if (chance(f, 1)) request = _IOC(below(f, 4), _IOC_TYPE(request), _IOC_NR(request), _IOC_SIZE(request));
  void* address = bytes;
  if (chance(f, 1)) address = (void*)(uintptr_t)hostile(f);
  const int result = call(fd, request, address);
  if (result == 0 && address == bytes) memcpy(argument, bytes, size);
  return result;
}
