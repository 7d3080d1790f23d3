// A worker's end: step by step for tests that drive it themselves, and a whole worker that answers everything.
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "support/calls.h"

struct WorkerQueue {
  int worker;
  uint32_t number;
  uint32_t generation;
  struct mlaccel_queue_map info;  // what QUEUE_MAP said
  struct mlring_layout layout;
  const struct mlring_submission_header* submission;
  struct mlring_completion_header* completion;
  const struct mlring_state* state;
  uint64_t taken;      // descriptors, as a sequence
  uint64_t completed;  // of those, in order: the watermark
  uint64_t busy;       // ns, as published
  uint32_t parked;
};

// QUEUE_MAP and all pages. 0 or -errno.
int worker_queue_try_map(struct WorkerQueue* q, int worker, uint32_t generation, int queue_fd);
void worker_queue_map(struct WorkerQueue* q, int worker, uint32_t generation, int queue_fd);
void worker_queue_unmap(struct WorkerQueue* q);  // QUEUE_UNMAP too

// Takes up to `most` descriptors from the ring; how many.
uint32_t take_descriptors(struct WorkerQueue* q, uint32_t most);
// Says that something executes since now, or that nothing does (0).
void say_running(struct WorkerQueue* q, uint64_t since_ns);
// Answers `count` of the taken ones in order: completions, watermark, busy_ns more of busy time. No call to the kernel.
void publish_completions(struct WorkerQueue* q, uint32_t count, uint64_t busy_ns);
// The COMPLETE that is due when the last publish passed notify_at, with MLACCEL_COMPLETE_WAKE when the client sleeps.
// `before` is q->completed in front of the publish. *called counts the calls, if it is not NULL. 0 or -errno.
int notify_if_due(struct WorkerQueue* q, uint64_t before, uint64_t* called);
// All three for whatever the ring holds; how many, or -errno.
int64_t serve(struct WorkerQueue* q);
// COMPLETE in any case.
int complete_queue(struct WorkerQueue* q, uint32_t flags);

// The worker's next events without waiting: how many, or -errno (-EAGAIN: none; 0: stopped for good).
int next_events(int worker, struct mlaccel_event* events, unsigned room);
// Waits for a single event, at most so many seconds. False: none came.
bool await_event(int worker, struct mlaccel_event* event, unsigned seconds);

// A worker that serves its queues until it is stopped, in a thread; its worker's file is read by nobody else.
struct FakeWorker {
  int worker;
  uint32_t generation;
  pthread_t thread;
  int stop;  // eventfd
  pthread_mutex_t lock;
  uint32_t count;
  struct WorkerQueue queues[64];
  // Answers EVENT_FREE in the worker's thread; NULL: with FREED and nothing given back.
  void (*on_free)(struct FakeWorker* w, const struct mlaccel_event* event);
  void* context;
  uint64_t served;     // descriptors
  uint64_t completes;  // calls of COMPLETE
  uint64_t events;
};

void fake_worker_start(struct FakeWorker* w, int worker, uint32_t generation);
void fake_worker_add(struct FakeWorker* w, int queue_fd);  // takes a queue as if it had come from the daemon
void fake_worker_stop(struct FakeWorker* w);               // unmaps its queues; the worker's file stays open
