// A client's end of a queue, as raw as the header: what a test breaks on purpose it writes through the pointers.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "support/calls.h"

struct ClientQueue {
  int drm;
  int fd;  // of the pages; what the worker is given
  int wake_fd;
  uint32_t number;
  uint32_t context;
  uint32_t generation;
  struct mlring_layout layout;
  struct mlring_submission_header* submission;
  const struct mlring_completion_header* completion;
  const struct mlring_state* state;
  uint64_t next;  // sequence of the next descriptor
  uint64_t read;  // completions read, as a sequence
  uint32_t rung;
};

// A queue of this context with all its pages mapped; wake_fd is an eventfd or -1. 0 or -errno.
int client_queue_try_open(struct ClientQueue* q, int drm, uint32_t context, uint32_t depth, int wake_fd);
// The same in a context of its own; what fails ends the case.
void client_queue_open(struct ClientQueue* q, int drm, uint32_t depth);
void client_queue_unmap(struct ClientQueue* q);  // its pages and its fd, not the queue
void client_queue_close(struct ClientQueue* q);  // all of it

// Publishes so many NOPs and answers the sequence of the last. There must be room. Rings no doorbell.
uint64_t submit_nops(struct ClientQueue* q, uint32_t count);
uint32_t client_queue_room(const struct ClientQueue* q);
// The doorbell, if the ring is parked and wasn't rung since. 0 or -errno.
int ring_if_parked(struct ClientQueue* q);
// The doorbell in any case.
int ring(struct ClientQueue* q);
// The next completion, if there is one.
bool read_completion(struct ClientQueue* q, struct mlring_completion* c);
uint32_t read_all_completions(struct ClientQueue* q);  // how many
// WAIT for the sequence, at most so many seconds. 0 or -errno.
int wait_within(const struct ClientQueue* q, uint64_t sequence, unsigned seconds);
uint64_t completed_sequence(const struct ClientQueue* q);
uint64_t notify_at(const struct ClientQueue* q);
uint32_t queue_state(const struct ClientQueue* q);
