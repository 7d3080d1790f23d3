// What either side writes where the kernel looks: it ends that queue and nothing else; floods reach nobody else.
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "support/client_queue.h"
#include "support/device.h"
#include "support/faults.h"
#include "support/process.h"
#include "support/snapshot.h"
#include "support/tap.h"
#include "support/worker_queue.h"

// Two clients of a device, both mapped by its worker. The first one is hostile, or has a hostile worker.
struct Pair {
  struct Device device;
  int drm[2];
  struct ClientQueue queue[2];
  struct WorkerQueue at_worker[2];
};

static void pair_make(struct Pair* p) {
  device_setup(&p->device);
  for (int i = 0; i < 2; i++) {
    p->drm[i] = device_open(&p->device);
    client_queue_open(&p->queue[i], p->drm[i], 8);
    worker_queue_map(&p->at_worker[i], p->device.worker, p->device.generation, p->queue[i].fd);
  }
}

static void another_queue(struct Pair* p) {
  worker_queue_unmap(&p->at_worker[0]);
  client_queue_close(&p->queue[0]);
  CHECK_OK(ctx_destroy(p->drm[0], p->queue[0].context));
  client_queue_open(&p->queue[0], p->drm[0], 8);
  worker_queue_map(&p->at_worker[0], p->device.worker, p->device.generation, p->queue[0].fd);
}

static void check_works(struct ClientQueue* q, struct WorkerQueue* w) {
  const uint64_t last = submit_nops(q, 5);
  CHECK_OK(ring(q));
  CHECK_EQ(serve(w), 5);
  CHECK_OK(wait_within(q, last, 30));
  CHECK_EQ(read_all_completions(q), 5);
  CHECK_EQ(queue_state(q), MLRING_STATE_ACTIVE);
}

// The first queue is over for good; its sister, and what comes next of the same file, are well.
static void check_only_first_faulted(struct Pair* p) {
  struct drm_mlaccel_ctx_state state;
  struct ClientQueue* q = &p->queue[0];
  struct drm_mlaccel_fence_arm arm = {.queue = q->number, .sequence = MLRING_START};
  CHECK_EQ(queue_state(q), MLRING_STATE_FAULTED);
  CHECK_ERR(ring(q), EPROTO);
  CHECK_ERR(wait_within(q, q->next + 100, 1), EPROTO);
  CHECK_ERR(wait_within(q, UINT64_MAX, 1), EPROTO);
  CHECK_OK(syncobj_create(p->drm[0], 0, &arm.syncobj));
  CHECK_ERR(fence_arm(p->drm[0], &arm), EPROTO);
  CHECK_ERR(complete_queue(&p->at_worker[0], 0), EPROTO);
  CHECK_OK(ctx_state(p->drm[0], q->context, &state));
  CHECK_EQ(state.state, 0);
  check_works(&p->queue[1], &p->at_worker[1]);
}

// ---- the client's indices

static void an_impossible_submission_tail_ends_the_queue_at_the_doorbell(void) {
  struct Pair p;
  pair_make(&p);
  // From a tail that the kernel has seen: forward by more than the ring is deep, and back.
  static const uint32_t jumps[] = {8 + 1,      8 + 2,        1000,         0x7fffffff,
                                   0x80000000, (uint32_t)-1, (uint32_t)-3, (uint32_t)-1000};
  for (size_t i = 0; i < sizeof jumps / sizeof jumps[0]; i++) {
    struct ClientQueue* q = &p.queue[0];
    check_works(q, &p.at_worker[0]);
    const uint32_t tail = (uint32_t)q->next + jumps[i];
    MLRING_STORE_RELEASE(&q->submission->tail, tail);
    if (!CHECK_ERR(ring(q), EPROTO)) note("a jump by %#x", jumps[i]);
    check_only_first_faulted(&p);
    another_queue(&p);
  }
  device_remove(&p.device);
}

static void a_full_ring_is_not_too_far(void) {
  struct Pair p;
  pair_make(&p);
  struct ClientQueue* q = &p.queue[0];
  const uint64_t last = submit_nops(q, 8);
  CHECK_OK(ring(q));
  CHECK_OK(ring(q));
  CHECK_EQ(take_descriptors(&p.at_worker[0], 3), 3);
  // The worker has taken three: the client may be three farther than the ring is deep.
  MLRING_STORE_RELEASE(&q->submission->tail, (uint32_t)q->next + 3);
  CHECK_OK(ring(q));
  MLRING_STORE_RELEASE(&q->submission->tail, (uint32_t)q->next + 4);
  CHECK_ERR(ring(q), EPROTO);
  CHECK_ERR(wait_within(q, last, 1), EPROTO);
  check_only_first_faulted(&p);
  device_remove(&p.device);
}

static void a_tail_rolled_back_ends_a_wait_or_a_fence_as_well(void) {
  struct Pair p;
  pair_make(&p);
  for (int i = 0; i < 3; i++) {
    struct ClientQueue* q = &p.queue[0];
    struct drm_mlaccel_fence_arm arm = {.queue = q->number, .sequence = MLRING_START};
    CHECK_OK(syncobj_create(p.drm[0], 0, &arm.syncobj));
    submit_nops(q, 4);
    CHECK_OK(ring(q));
    MLRING_STORE_RELEASE(&q->submission->tail, MLRING_START + 2);
    if (i == 0) CHECK_ERR(wait_within(q, MLRING_START + 3, 1), EPROTO);
    if (i == 1) CHECK_ERR(fence_arm(p.drm[0], &arm), EPROTO);
    if (i == 2) CHECK_ERR(complete_queue(&p.at_worker[0], 0), EPROTO);
    check_only_first_faulted(&p);
    another_queue(&p);
  }
  device_remove(&p.device);
}

// The depth was fixed at creation and stands nowhere: whatever is written over the header changes no size.
static void nothing_in_the_pages_rewrites_the_size(void) {
  struct Pair p;
  pair_make(&p);
  struct ClientQueue* q = &p.queue[0];
  struct mlring_submission_header* s = q->submission;
  for (unsigned round = 0; round < 4; round++) {
    const uint32_t garbage = round % 2 == 0 ? UINT32_MAX : 0x00010000;
    for (size_t i = 0; i < sizeof s->pad0 / sizeof s->pad0[0]; i++) MLRING_STORE(&s->pad0[i], garbage);
    for (size_t i = 0; i < sizeof s->pad1 / sizeof s->pad1[0]; i++) MLRING_STORE(&s->pad1[i], garbage);
    for (size_t i = 0; i < sizeof s->pad2 / sizeof s->pad2[0]; i++) MLRING_STORE(&s->pad2[i], garbage);
    struct mlring_completion_header* c = p.at_worker[0].completion;
    for (size_t i = 0; i < sizeof c->pad1 / sizeof c->pad1[0]; i++) MLRING_STORE(&c->pad1[i], garbage);
    for (size_t i = 0; i < sizeof c->pad2 / sizeof c->pad2[0]; i++) MLRING_STORE(&c->pad2[i], garbage);
    for (size_t i = 0; i < sizeof c->pad4 / sizeof c->pad4[0]; i++) MLRING_STORE(&c->pad4[i], garbage);
    // Words that are for the other side only.
    MLRING_STORE(&s->completion_head, garbage);
    MLRING_STORE(&s->wake_at, garbage);
    MLRING_STORE(&c->parked, garbage);
    MLRING_STORE(&c->fault, garbage);
    const uint64_t last = submit_nops(q, 8);
    CHECK_OK(ring(q));
    CHECK_EQ(serve(&p.at_worker[0]), 8);
    CHECK_OK(wait_within(q, last, 30));
    CHECK_EQ(read_all_completions(q), 8);
  }
  // And no size was re-read: one more than the depth is too far still.
  MLRING_STORE_RELEASE(&s->tail, (uint32_t)q->next + 9);
  CHECK_ERR(ring(q), EPROTO);
  check_only_first_faulted(&p);
  device_remove(&p.device);
}

static void random_indices_end_one_queue_at_most(void) {
  struct Pair p;
  uint64_t seed = test_seed();
  unsigned faulted = 0;
  pair_make(&p);
  for (unsigned round = 0; round < 300 && !case_failed(); round++) {
    struct ClientQueue* q = &p.queue[0];
    struct WorkerQueue* w = &p.at_worker[0];
    const uint32_t near = (uint32_t)random_below(&seed, 32) - 16;
    const uint32_t any = random_below(&seed, 2) ? near : (uint32_t)next_random(&seed);
    switch (random_below(&seed, 4)) {
      case 0: MLRING_STORE(&q->submission->tail, MLRING_START + any); break;
      case 1: MLRING_STORE(&w->completion->submission_head, MLRING_START + any); break;
      case 2:
        MLRING_STORE(&w->completion->completed_sequence,
                     random_below(&seed, 2) ? MLRING_START + any : next_random(&seed));
        break;
      default:
        MLRING_STORE(&w->completion->busy, next_random(&seed));
        MLRING_STORE(&w->completion->running_since, next_random(&seed));
        MLRING_STORE(&w->completion->completion_tail, any);
    }
    const int rung = ring(q), completed = complete_queue(w, 0);
    CHECK(rung == 0 || rung == -EPROTO);
    CHECK(completed == 0 || completed == -EPROTO);
    const int waited = wait_sequence(q->drm, q->number, MLRING_START, 0, NULL);
    CHECK(waited == 0 || waited == -ETIME || waited == -EPROTO);
    if (queue_state(q) == MLRING_STATE_ACTIVE) continue;
    CHECK_EQ(queue_state(q), MLRING_STATE_FAULTED);
    faulted++;
    another_queue(&p);
    check_works(&p.queue[1], &p.at_worker[1]);
  }
  note("%u queues ended", faulted);
  device_remove(&p.device);
}

// ---- the worker's completions

static void a_completion_of_the_future_ends_the_queue(void) {
  struct Pair p;
  pair_make(&p);
  static const uint64_t beyond[] = {1, 2, 8, 1ull << 32, 1ull << 63, ~0ull - MLRING_START - 4};
  for (size_t i = 0; i < sizeof beyond / sizeof beyond[0]; i++) {
    struct WorkerQueue* w = &p.at_worker[0];
    uint32_t syncobj;
    CHECK_OK(syncobj_create(p.drm[0], 0, &syncobj));
    const uint64_t last = submit_nops(&p.queue[0], 4);
    CHECK_OK(ring(&p.queue[0]));
    CHECK_OK(arm_point(p.drm[0], p.queue[0].number, last, syncobj, 0));
    CHECK_EQ(take_descriptors(w, 4), 4);
    MLRING_STORE_RELEASE(&w->completion->completed_sequence, last + 1 + beyond[i]);
    if (!CHECK_ERR(complete_queue(w, MLACCEL_COMPLETE_WAKE), EPROTO)) note("%#jx beyond", (uintmax_t)beyond[i]);
    CHECK_EQ(await_fence(p.drm[0], syncobj, 0, 10), -EPROTO);
    check_only_first_faulted(&p);
    another_queue(&p);
  }
  device_remove(&p.device);
}

static void a_watermark_that_moves_back_ends_the_queue(void) {
  struct Pair p;
  pair_make(&p);
  static const uint64_t back[] = {1, 5, MLRING_START, MLRING_START + 5};
  for (size_t i = 0; i < sizeof back / sizeof back[0]; i++) {
    struct WorkerQueue* w = &p.at_worker[0];
    check_works(&p.queue[0], w);
    CHECK_OK(complete_queue(w, 0));
    MLRING_STORE_RELEASE(&w->completion->completed_sequence, w->completed - back[i]);
    if (!CHECK_ERR(complete_queue(w, 0), EPROTO)) note("back by %#jx", (uintmax_t)back[i]);
    check_only_first_faulted(&p);
    another_queue(&p);
  }
  device_remove(&p.device);
}

static void completing_twice_or_for_others_changes_nothing(void) {
  static struct Snapshot before;
  struct Pair p;
  pair_make(&p);
  struct WorkerQueue* w = &p.at_worker[0];
  const uint64_t last = submit_nops(&p.queue[0], 3);
  CHECK_OK(ring(&p.queue[0]));
  CHECK_EQ(serve(w), 3);
  CHECK_OK(complete_queue(w, 0));
  CHECK_OK(wait_within(&p.queue[0], last, 30));
  CHECK_EQ(read_all_completions(&p.queue[0]), 3);
  struct mlaccel_complete c = {.queue = w->number, .generation = w->generation};
  CHECK_OK(complete(w->worker, &c));
  CHECK_EQ(c.notify_at, MLRING_NEVER);
  snapshot_take(&before, &p.device, p.drm[0]);
  for (unsigned i = 0; i < 50; i++) CHECK_OK(complete_queue(w, i % 2 ? MLACCEL_COMPLETE_WAKE : 0));
  c = (struct mlaccel_complete){.queue = w->number + 1000, .generation = w->generation};
  CHECK_ERR(complete(w->worker, &c), ENOENT);
  static const uint32_t generations[] = {0, UINT32_MAX};
  for (size_t i = 0; i < 2; i++) {
    c = (struct mlaccel_complete){.queue = w->number, .generation = generations[i]};
    CHECK_ERR(complete(w->worker, &c), ESTALE);
  }
  c = (struct mlaccel_complete){.queue = w->number, .generation = w->generation + 1};
  CHECK_ERR(complete(w->worker, &c), ESTALE);
  snapshot_same(&before, &p.device, p.drm[0], "COMPLETE");
  check_works(&p.queue[0], w);
  check_works(&p.queue[1], &p.at_worker[1]);

  // A queue that was made, but never handed over, and one that was unmapped.
  struct ClientQueue unmapped;
  client_queue_open(&unmapped, p.drm[0], 8);
  c = (struct mlaccel_complete){.queue = unmapped.number, .generation = w->generation};
  CHECK_ERR(complete(w->worker, &c), ENOENT);
  const uint32_t number = w->number;
  worker_queue_unmap(w);
  c = (struct mlaccel_complete){.queue = number, .generation = w->generation};
  CHECK_ERR(complete(p.device.worker, &c), ENOENT);
  CHECK_EQ(queue_state(&p.queue[0]), MLRING_STATE_CLOSED);
  CHECK_EQ(queue_state(&unmapped), MLRING_STATE_ACTIVE);
  device_remove(&p.device);
}

static void a_hostile_workers_clock_blames_nobody_for_the_past(void) {
  const uint64_t executors = 256;  // may work for one queue at a time, and no more
  const uint64_t usual = module_parameter("watchdog_ms");
  const uint64_t begin = now_ns();
  struct Pair p;
  set_module_parameter("watchdog_ms", 20);
  pair_make(&p);
  struct WorkerQueue* w = &p.at_worker[0];
  struct drm_mlaccel_ctx_state state;
  check_works(&p.queue[0], w);
  // Busy for longer than there has been time, and running since the machine started, or some time next year.
  MLRING_STORE(&w->completion->busy, UINT64_MAX);
  say_running(w, 1);
  CHECK_OK(complete_queue(w, 0));
  say_running(w, UINT64_MAX);
  CHECK_OK(complete_queue(w, 0));
  MLRING_STORE(&w->completion->busy, 0);
  CHECK_OK(complete_queue(w, 0));
  CHECK_OK(ctx_state(p.drm[0], p.queue[0].context, &state));
  CHECK_EQ(state.state, 0);
  uint64_t busy = 0;
  CHECK(fdinfo_number(p.drm[0], "drm-engine-compute", &busy));
  CHECK_AS(busy, <=, (now_ns() - begin) * executors);
  CHECK_AS(state.busy_ns, <=, (now_ns() - begin) * executors);
  CHECK_EQ(queue_state(&p.queue[0]), MLRING_STATE_ACTIVE);
  set_module_parameter("watchdog_ms", usual);
  device_remove(&p.device);
}

static const struct Case cases[] = {
    {"an_impossible_submission_tail_ends_the_queue_at_the_doorbell",
     an_impossible_submission_tail_ends_the_queue_at_the_doorbell, 0},
    {"a_full_ring_is_not_too_far", a_full_ring_is_not_too_far, 0},
    {"a_tail_rolled_back_ends_a_wait_or_a_fence_as_well", a_tail_rolled_back_ends_a_wait_or_a_fence_as_well, 0},
    {"nothing_in_the_pages_rewrites_the_size", nothing_in_the_pages_rewrites_the_size, 0},
    {"random_indices_end_one_queue_at_most", random_indices_end_one_queue_at_most, 0},
    {"a_completion_of_the_future_ends_the_queue", a_completion_of_the_future_ends_the_queue, 0},
    {"a_watermark_that_moves_back_ends_the_queue", a_watermark_that_moves_back_ends_the_queue, 0},
    {"completing_twice_or_for_others_changes_nothing", completing_twice_or_for_others_changes_nothing, 0},
    {"a_hostile_workers_clock_blames_nobody_for_the_past", a_hostile_workers_clock_blames_nobody_for_the_past, 0},
};

int main(int argc, char** argv) { return RUN_CASES(argc, argv, cases); }
