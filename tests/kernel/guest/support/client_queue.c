#include "support/client_queue.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "support/process.h"
#include "support/tap.h"

static void* map_part(int fd, uint64_t offset, uint64_t bytes, int protection) {
  void* at = mmap(NULL, bytes, protection, MAP_SHARED, fd, (off_t)offset);
  return at == MAP_FAILED ? NULL : at;
}

int client_queue_try_open(struct ClientQueue* q, int drm, uint32_t context, uint32_t depth, int wake_fd) {
  struct drm_mlaccel_queue_create c = {.context = context, .depth = depth, .wake_fd = wake_fd, .fd = -1};
  const int result = queue_create(drm, &c);
  if (result != 0) return result;

  memset(q, 0, sizeof *q);
  q->drm = drm;
  q->fd = c.fd;
  q->wake_fd = wake_fd;
  q->number = c.queue;
  q->context = context;
  q->generation = c.generation;
  q->next = q->read = MLRING_START;
  struct mlring_layout* l = &q->layout;
  REQUIRE(mlring_compute_layout(l, depth, (uint32_t)sysconf(_SC_PAGESIZE)));
  CHECK_EQ(c.bytes, l->bytes);
  q->submission = map_part(q->fd, l->submission_offset, l->submission_bytes, PROT_READ | PROT_WRITE);
  q->completion = map_part(q->fd, l->completion_offset, l->completion_bytes, PROT_READ);
  q->state = map_part(q->fd, l->state_offset, l->state_bytes, PROT_READ);
  REQUIRE(q->submission != NULL && q->completion != NULL && q->state != NULL);
  return 0;
}

void client_queue_open(struct ClientQueue* q, int drm, uint32_t depth) {
  uint32_t context = 0;
  REQUIRE_OK(new_context(drm, &context));
  REQUIRE_OK(client_queue_try_open(q, drm, context, depth, -1));
}

void client_queue_unmap(struct ClientQueue* q) {
  munmap(q->submission, q->layout.submission_bytes);
  munmap((void*)(uintptr_t)q->completion, q->layout.completion_bytes);
  munmap((void*)(uintptr_t)q->state, q->layout.state_bytes);
  close(q->fd);
}

void client_queue_close(struct ClientQueue* q) {
  client_queue_unmap(q);
  CHECK_OK(queue_destroy(q->drm, q->number));
}

uint32_t client_queue_room(const struct ClientQueue* q) { return q->layout.depth - (uint32_t)(q->next - q->read); }

uint64_t submit_nops(struct ClientQueue* q, uint32_t count) {
  struct mlring_descriptor* ring_base = (struct mlring_descriptor*)((char*)q->submission + q->layout.descriptors);
  REQUIRE_AS(count, <=, client_queue_room(q));
  for (uint32_t i = 0; i < count; i++) {
    const struct mlring_descriptor d = {.user_data = q->next, .opcode = MLRING_OP_NOP};
    mlring_copy_out(&ring_base[(uint32_t)q->next & q->layout.mask], &d, sizeof d);
    q->next++;
  }
  MLRING_STORE_RELEASE(&q->submission->tail, (uint32_t)q->next);
  MLRING_FULL_FENCE();
  return q->next - 1;
}

int ring_if_parked(struct ClientQueue* q) {
  return mlring_doorbell_needed(q->completion, &q->rung) ? doorbell(q->drm, q->number) : 0;
}

int ring(struct ClientQueue* q) { return doorbell(q->drm, q->number); }

bool read_completion(struct ClientQueue* q, struct mlring_completion* c) {
  const struct mlring_completion* ring_base =
      (const struct mlring_completion*)((const char*)q->completion + q->layout.completions);
  const uint32_t tail = MLRING_LOAD_ACQUIRE(&q->completion->completion_tail);
  const uint32_t index = (uint32_t)q->read;
  if (tail == index) return false;
  REQUIRE(mlring_index_ok(index, tail, (uint32_t)q->next));
  mlring_copy_in(c, &ring_base[index & q->layout.mask], sizeof *c);
  q->read++;
  MLRING_STORE_RELEASE(&q->submission->completion_head, (uint32_t)q->read);
  return true;
}

uint32_t read_all_completions(struct ClientQueue* q) {
  struct mlring_completion c;
  uint32_t count = 0;
  while (read_completion(q, &c)) count++;
  return count;
}

int wait_within(const struct ClientQueue* q, uint64_t sequence, unsigned seconds) {
  return wait_sequence(q->drm, q->number, sequence, now_ns() + SECONDS(seconds), NULL);
}

uint64_t completed_sequence(const struct ClientQueue* q) {
  return MLRING_LOAD_ACQUIRE(&q->completion->completed_sequence);
}

uint64_t notify_at(const struct ClientQueue* q) { return MLRING_LOAD_ACQUIRE(&q->state->notify_at); }

uint32_t queue_state(const struct ClientQueue* q) { return MLRING_LOAD_ACQUIRE(&q->state->state); }
