// COMPLETE, an expiring fence, a wait and a close of the same queue at the same time, again and again.
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "support/client_queue.h"
#include "support/device.h"
#include "support/faults.h"
#include "support/process.h"
#include "support/tap.h"
#include "support/worker_queue.h"

enum Close { QUEUE, CONTEXT, DRM_FILE, UNMAP, CLOSES };
enum { racers = 3 };

// What happens in one round. Times are random, so that everybody is first sometimes.
struct Round {
  struct ClientQueue queue;
  struct WorkerQueue at_worker;
  uint64_t last;
  enum Close how;
  uint64_t delay_ns[racers];
  int completed, waited, closed;
};

struct Race {
  struct Device device;
  pthread_barrier_t begin, end;
  bool over;
  struct Round round;
};

static bool next_round(struct Race* r) {
  pthread_barrier_wait(&r->begin);
  return !r->over;
}

static void* complete_it(void* argument) {
  struct Race* r = argument;
  while (next_round(r)) {
    pause_ns(r->round.delay_ns[0]);
    publish_completions(&r->round.at_worker, take_descriptors(&r->round.at_worker, 8), 1);
    r->round.completed = complete_queue(&r->round.at_worker, MLACCEL_COMPLETE_WAKE);
    pthread_barrier_wait(&r->end);
  }
  return NULL;
}

static void* close_it(void* argument) {
  struct Race* r = argument;
  while (next_round(r)) {
    pause_ns(r->round.delay_ns[1]);
    const struct ClientQueue* q = &r->round.queue;
    switch (r->round.how) {
      case QUEUE: r->round.closed = queue_destroy(q->drm, q->number); break;
      case CONTEXT: r->round.closed = ctx_destroy(q->drm, q->context); break;
      case DRM_FILE: r->round.closed = close(q->drm); break;
      default: r->round.closed = queue_unmap(r->device.worker, r->round.at_worker.number);
    }
    pthread_barrier_wait(&r->end);
  }
  return NULL;
}

static void* wait_for_it(void* argument) {
  struct Race* r = argument;
  while (next_round(r)) {
    pause_ns(r->round.delay_ns[2]);
    const struct ClientQueue* q = &r->round.queue;
    r->round.waited = wait_sequence(q->drm, q->number, r->round.last, now_ns() + SECONDS(60), NULL);
    pthread_barrier_wait(&r->end);
  }
  return NULL;
}

static bool one_of(int value, int a, int b, int c, int d) {
  return value == a || value == b || value == c || value == d;
}

struct Totals {
  uint64_t completed, expired, cancelled;
};

static void check_round(const struct Round* k, int fence, struct Totals* t) {
  const bool fine = CHECK(one_of(k->completed, 0, -ECANCELED, -ENOENT, 0)) &
                    // Which file and which queue a late wait means, when they are gone: none.
                    CHECK(one_of(k->waited, 0, -ECANCELED, -ENOENT, -EBADF)) & CHECK_OK(k->closed) &
                    CHECK(one_of(fence, 1, -ETIMEDOUT, -ECANCELED, 1));
  if (!fine)
    note("closed by %d: COMPLETE %d, WAIT %d, close %d, fence %d", (int)k->how, k->completed, k->waited, k->closed,
         fence);
  t->completed += fence == 1;
  t->expired += fence == -ETIMEDOUT;
  t->cancelled += fence == -ECANCELED;
}

static void race_once(struct Race* r, uint64_t* seed, struct Totals* t) {
  struct Round* k = &r->round;
  uint32_t context, syncobj;
  int sync_file = -1;
  memset(k, 0, sizeof *k);
  const int drm = device_open(&r->device);
  REQUIRE_OK(new_context(drm, &context));
  REQUIRE_OK(client_queue_try_open(&k->queue, drm, context, 8, -1));
  worker_queue_map(&k->at_worker, r->device.worker, r->device.generation, k->queue.fd);
  k->last = submit_nops(&k->queue, 1 + (uint32_t)random_below(seed, 4));
  REQUIRE_OK(syncobj_create(drm, 0, &syncobj));
  // The timer has the resolution of the kernel's clock tick; the others wait for up to three.
  struct drm_mlaccel_fence_arm arm = {.queue = k->queue.number,
                                      .sequence = k->last,
                                      .syncobj = syncobj,
                                      .timeout_ns = 1 + random_below(seed, 2) * 4000000};
  REQUIRE_OK(fence_arm(drm, &arm));
  REQUIRE_OK(sync_file_export(drm, syncobj, &sync_file));
  k->how = (enum Close)random_below(seed, CLOSES);
  for (int i = 0; i < racers; i++) k->delay_ns[i] = random_below(seed, 2) * random_below(seed, MILLISECONDS(10));

  pthread_barrier_wait(&r->begin);
  struct pollfd wait = {.fd = sync_file, .events = POLLIN};
  CHECK_EQ(poll(&wait, 1, 60000), 1);
  const int fence = sync_file_status(sync_file);
  pthread_barrier_wait(&r->end);
  check_round(k, fence, t);

  close(sync_file);
  client_queue_unmap(&k->queue);
  // The worker's end: its mappings, and the queue unless that is how it was closed.
  const int unmapped = queue_unmap(r->device.worker, k->at_worker.number);
  CHECK_EQ(unmapped, k->how == UNMAP ? -ENOENT : 0);
  forget_pages(&k->at_worker);
  if (k->how != DRM_FILE) close(drm);
}

static void completing_expiring_waiting_and_closing_at_once_is_safe(void) {
  struct Race r = {.over = false};
  struct Totals t = {.completed = 0};
  uint64_t seed = test_seed();
  const uint64_t rounds = test_rounds(2000);
  pthread_t threads[racers];
  device_setup(&r.device);
  pthread_barrier_init(&r.begin, NULL, racers + 1);
  pthread_barrier_init(&r.end, NULL, racers + 1);
  threads[0] = start_thread(complete_it, &r);
  threads[1] = start_thread(close_it, &r);
  threads[2] = start_thread(wait_for_it, &r);
  for (uint64_t round = 0; round < rounds && !case_failed(); round++) race_once(&r, &seed, &t);
  r.over = true;
  pthread_barrier_wait(&r.begin);
  for (int i = 0; i < racers; i++) pthread_join(threads[i], NULL);
  note("%ju rounds: %ju fences completed, %ju expired, %ju cancelled", (uintmax_t)rounds, (uintmax_t)t.completed,
       (uintmax_t)t.expired, (uintmax_t)t.cancelled);
  CHECK(EVENTUALLY(user_bytes(&r.device, 0).host == 0));
  CHECK_EQ(memory_used(&r.device), 0);
  struct mlaccel_worker_info info = {.device = 0};
  CHECK_OK(worker_info(r.device.worker, &info));
  CHECK_EQ(info.queues, 0);
  device_remove(&r.device);
}

static const struct Case cases[] = {
    {"completing_expiring_waiting_and_closing_at_once_is_safe", completing_expiring_waiting_and_closing_at_once_is_safe,
     4 * 3600},
};

int main(int argc, char** argv) { return RUN_CASES(argc, argv, cases); }
