// What tests of deaths and stalls look at from outside: threads that sleep, fences, what a user holds.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "support/device.h"
#include "support/worker_queue.h"

// Waits until all threads of a process but `awake` of them sleep in a system call. False: they did not.
bool await_asleep(pid_t pid, unsigned awake);
// Of this process: the thread sleeps.
bool await_thread_asleep(pid_t thread);
// Waits until a process has this state ('T': stopped).
bool await_state(pid_t pid, char state);

// What became of the fence at a timeline's last point (0: of a binary syncobj): 0 it waits, 1 signalled, or its error.
int fence_status(int drm, uint32_t syncobj, uint64_t point);
// Waits for it, at most so many seconds, and answers the same.
int await_fence(int drm, uint32_t syncobj, uint64_t point, unsigned seconds);

struct UserBytes {
  uint64_t host;
  uint64_t device;
};

// What a user holds as DEV_QUERY tells them.
struct UserBytes user_bytes(const struct Device* d, uid_t uid);
// Of the device, by everybody.
uint64_t memory_used(const struct Device* d);

// Memory that children share with the case, zeroed.
void* shared_memory(size_t bytes);

// The worker's mappings alone: no call is made.
void forget_pages(struct WorkerQueue* q);
