// What the fuzzer's threads share: descriptors, numbers that calls have answered, and how often which call said what.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "support/calls.h"

enum Kind { NODE_FD, CONTROL_FD, WORKER_FD, QUEUE_FD, DMABUF_FD, SYNC_FD, EVENT_FD, VGEM_FD, KINDS };
enum Name {
  HANDLE,
  CONTEXT,
  QUEUE,
  SYNCOBJ,
  POINT,
  DEVICE,
  MINOR,
  GENERATION,
  MEMORY,
  REQUEST,
  BUFFER_OFFSET,
  QUEUE_OFFSET,
  NAMES
};

// A slot has one client's file and what belongs to it; a device is shared by slots, with its worker.
enum { devices = 3, slots = 2 * devices, remembered = 4, errors = 200, most_operations = 64 };

struct Shared {
  int fds[KINDS][slots];
  uint64_t numbers[NAMES][slots][remembered];
  int64_t left;  // calls that are still to be made
  uint64_t totals[most_operations][errors];
  int vgem;      // a file of it, for others to be opened by
  int first_fd;  // all from here on were made by the calls
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
  unsigned slot;  // that the next operation is about
  struct Mapping mappings[8];
};

struct Operation {
  const char* name;
  unsigned weight;
  int (*run)(struct Fuzzer* f);  // 0 or -errno
};

// Those that a repair is made of.
int open_node(struct Fuzzer* f);
int create_context(struct Fuzzer* f);
int create_queue(struct Fuzzer* f);
int create_syncobj(struct Fuzzer* f);
int open_control(struct Fuzzer* f);
int register_device(struct Fuzzer* f);
int start_device(struct Fuzzer* f);
int map_queue(struct Fuzzer* f);

extern const struct Operation client_operations[], daemon_operations[], memory_operations[];
extern const size_t client_operation_count, daemon_operation_count, memory_operation_count;

uint64_t below(struct Fuzzer* f, uint64_t bound);
bool chance(struct Fuzzer* f, unsigned percent);
uint64_t hostile(struct Fuzzer* f);

unsigned device_of(const struct Fuzzer* f);  // of the slot

// Mostly the slot's.
int pick_fd(struct Fuzzer* f, enum Kind kind);
// The pool owns it from here on; what had its place is closed.
void keep_fd(struct Fuzzer* f, enum Kind kind, int fd);
int take_fd(struct Fuzzer* f, enum Kind kind);  // out of the pool, or -1

// Mostly the latest of the slot.
uint64_t pick_number(struct Fuzzer* f, enum Name name);
void keep_number(struct Fuzzer* f, enum Name name, uint64_t number);

// The call with arguments that are right, or nearly: sometimes a field, the size or the address is not.
int fuzz_call(struct Fuzzer* f, int fd, unsigned long request, void* argument);

// Brings a slot back to where calls can succeed: device, worker, client's file, context, queue, syncobj.
void repair(struct Fuzzer* f);
