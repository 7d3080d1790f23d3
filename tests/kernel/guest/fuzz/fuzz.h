// What the fuzzer's threads share: descriptors, numbers that calls have answered, and how often which call said what.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "support/calls.h"

enum Kind { NODE_FD, CONTROL_FD, WORKER_FD, QUEUE_FD, DMABUF_FD, SYNC_FD, EVENT_FD, KINDS };
enum Name { HANDLE, CONTEXT, QUEUE, SYNCOBJ, POINT, DEVICE, MINOR, GENERATION, MEMORY, REQUEST, BUFFER_OFFSET, QUEUE_OFFSET, NAMES };

enum { slots = 6, remembered = 16, errors = 200, most_operations = 64 };

struct Shared {
  int fds[KINDS][slots];
  uint64_t numbers[NAMES][remembered];
  int64_t left;  // calls that are still to be made
  uint64_t totals[most_operations][errors];
  int vgem;
  bool accel;
};

struct Mapping {
  void* at;
  size_t bytes;
};

// One thread.
struct Fuzzer {
  struct Shared* shared;
  uint64_t seed;
  struct Mapping mappings[8];
};

struct Operation {
  const char* name;
  unsigned weight;
  int (*run)(struct Fuzzer* f);  // 0 or -errno
};

extern const struct Operation client_operations[], daemon_operations[], memory_operations[];
extern const size_t client_operation_count, daemon_operation_count, memory_operation_count;

uint64_t below(struct Fuzzer* f, uint64_t bound);
bool chance(struct Fuzzer* f, unsigned percent);
uint64_t hostile(struct Fuzzer* f);

// Mostly one of that kind, and mostly open.
int pick_fd(struct Fuzzer* f, enum Kind kind);
// The pool owns it from here on; what had its place is closed.
void keep_fd(struct Fuzzer* f, enum Kind kind, int fd);
int take_fd(struct Fuzzer* f, enum Kind kind);  // out of the pool, or -1

uint64_t pick_number(struct Fuzzer* f, enum Name name);
void keep_number(struct Fuzzer* f, enum Name name, uint64_t number);

// The call with arguments that are right, or nearly: sometimes a field, the size or the address is not.
int fuzz_call(struct Fuzzer* f, int fd, unsigned long request, void* argument);
