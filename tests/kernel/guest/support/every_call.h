// Every call of the UAPI once, with arguments that are right, in a world where it can succeed.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "support/client_queue.h"
#include "support/device.h"
#include "support/worker_queue.h"

struct World {
  struct Device device;
  uint32_t spare;  // number of a device that is stopped
  int drm;
  uint32_t context;
  struct ClientQueue queue;
  struct WorkerQueue at_worker;  // the same one
  uint32_t host, memory;         // BOs
  uint32_t memory_number;        // the worker's name of the second
  int dmabuf;                    // of the first
  uint32_t timeline;
  uint64_t point;    // its last
  uint32_t scratch;  // what a call's fill() made for its clean()
  int scratch_fd;
};

enum CallFile { CLIENT, CONTROL, WORKER };

// Bits of a field that must be zero.
struct ZeroField {
  const char* name;
  size_t offset;
  uint32_t allowed;
};

union Argument {
  char bytes[512];
  uint64_t words[64];
};

struct EveryCall {
  const char* name;
  enum CallFile file;
  unsigned long request;
  int answer;  // of the call as it is: 0 or -errno
  void (*fill)(struct World* w, void* argument);
  // Puts things back; `done`: the call has succeeded. NULL: it changes nothing.
  void (*clean)(struct World* w, const void* argument, bool done);
  struct ZeroField zero[3];
};

extern const struct EveryCall every_call[];
extern const size_t every_call_count;
const struct EveryCall* find_call(const char* name);  // without it the case ends

void world_make(struct World* w);
void world_free(struct World* w);
int world_file(const struct World* w, const struct EveryCall* c);
size_t call_bytes(const struct EveryCall* c);
