// DEV_RECOVER again and again under load: everybody learns that their worker is gone, and goes on with the next one.
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "support/client_queue.h"
#include "support/device.h"
#include "support/faults.h"
#include "support/process.h"
#include "support/tap.h"
#include "support/worker_queue.h"

enum { clients = 3, queues_of_a_worker = 64 };

struct Load;

// One life of the worker. It takes queues from its inbox and serves them until its file says that it is over.
struct Era {
  struct Load* load;
  int worker;
  uint32_t generation;
  int inbox[2];
  pthread_t thread;
  uint32_t count;
  struct WorkerQueue queues[queues_of_a_worker];
  uint64_t served;
};

struct Load {
  struct Device device;
  pthread_rwlock_t lock;  // of era
  struct Era* era;
  bool over;
};

static void take_queue(struct Era* e, int fd) {
  REQUIRE_AS(e->count, <, queues_of_a_worker);
  struct WorkerQueue* q = &e->queues[e->count];
  // No recovery between the call and the mappings.
  pthread_rwlock_rdlock(&e->load->lock);
  const int result = worker_queue_try_map(q, e->worker, e->generation, fd);
  pthread_rwlock_unlock(&e->load->lock);
  close(fd);
  // Its client may have let go of it, or the worker may be over.
  if (result != 0) {
    CHECK(result == -ECANCELED || result == -ENODEV);
    return;
  }
  e->count++;
  mlring_worker_turn(q->completion, &q->parked);
  (void)serve(q);
}

static void handle(struct Era* e, const struct mlaccel_event* event) {
  for (uint32_t i = 0; i < e->count; i++) {
    struct WorkerQueue* q = &e->queues[i];
    if (q->number != event->queue) continue;
    if (event->bits & MLACCEL_EVENT_ENDED) {
      forget_pages(q);
      const int result = queue_unmap(e->worker, q->number);
      CHECK(result == 0 || result == -ENODEV);
      e->queues[i] = e->queues[--e->count];
      return;
    }
    for (int turn = 0; turn < 2; turn++) {
      mlring_worker_turn(q->completion, &q->parked);
      const int64_t served = serve(q);
      if (served > 0) __atomic_add_fetch(&e->served, (uint64_t)served, __ATOMIC_RELAXED);
    }
  }
}

static void* live(void* argument) {
  struct Era* e = argument;
  for (;;) {
    struct pollfd waits[2] = {{.fd = e->worker, .events = POLLIN}, {.fd = e->inbox[0], .events = POLLIN}};
    struct mlaccel_event events[4];
    if (poll(waits, 2, -1) < 0) continue;
    if (waits[1].revents & POLLIN) take_queue(e, REQUIRE_FD(receive_fd(e->inbox[0])));
    if (waits[0].revents == 0) continue;
    const ssize_t got = read(e->worker, events, sizeof events);
    if (got == 0) return NULL;
    CHECK_AS(got, >, 0);
    for (unsigned i = 0; i < (size_t)got / sizeof *events; i++) handle(e, &events[i]);
  }
}

static struct Era* begin_era(struct Load* l, int worker, uint32_t generation) {
  struct Era* e = shared_memory(sizeof *e);
  e->load = l;
  e->worker = worker;
  e->generation = generation;
  socket_pair(e->inbox);
  e->thread = start_thread(live, e);
  return e;
}

// A worker that was stopped: every call says so, and the queues that it still has mapped are over.
static void check_over(struct Era* e) {
  struct mlaccel_worker_info info = {.device = 0};
  struct mlaccel_queue_map map;
  struct mlaccel_bo_look look;
  struct mlaccel_complete done = {.queue = 1, .generation = e->generation + 1};
  struct mlaccel_bo_create_for create = {.queue = 1, .size = 4096};
  struct mlaccel_event event;
  struct pollfd wait = {.fd = e->worker, .events = POLLIN};
  CHECK_ERR(worker_info(e->worker, &info), ENODEV);
  CHECK_ERR(queue_map(e->worker, e->worker, &map), ENODEV);
  CHECK_ERR(queue_unmap(e->worker, 1), ENODEV);
  CHECK_ERR(queue_end(e->worker, 1, MLRING_STATE_CLOSED), ENODEV);
  CHECK_ERR(complete(e->worker, &done), ENODEV);
  CHECK_ERR(bo_look(e->worker, e->worker, &look), ENODEV);
  CHECK_ERR(bo_create_for(e->worker, &create), ENODEV);
  CHECK_ERR(bo_destroy(e->worker, 1), ENODEV);
  CHECK_ERR(bo_evict(e->worker, 1), ENODEV);
  CHECK_ERR(bo_restore(e->worker, 1, NULL), ENODEV);
  CHECK_ERR(freed(e->worker, 1), ENODEV);
  CHECK_EQ(read(e->worker, &event, sizeof event), 0);
  CHECK_EQ(poll(&wait, 1, 0), 1);
  CHECK_EQ(wait.revents, POLLIN | POLLHUP);
  CHECK(mmap(NULL, 4096, PROT_READ, MAP_SHARED, e->worker, (off_t)1 << 24) == MAP_FAILED);
  CHECK_EQ(errno, ENODEV);
  for (uint32_t i = 0; i < e->count; i++) {
    const struct WorkerQueue* q = &e->queues[i];
    const uint32_t state = MLRING_LOAD(&q->state->state);
    CHECK(state != MLRING_STATE_ACTIVE);
    // One that its client had let go of before was not lost.
    CHECK_EQ(MLRING_LOAD(&q->state->generation), e->generation + (state == MLRING_STATE_LOST ? 1 : 0));
  }
}

static void end_era(struct Era* e) {
  pthread_join(e->thread, NULL);
  check_over(e);
  // What came too late to be taken.
  close(e->inbox[1]);
  for (int fd = receive_fd(e->inbox[0]); fd >= 0; fd = receive_fd(e->inbox[0])) close(fd);
  close(e->inbox[0]);
}

static void forget_era(struct Era* e) {
  for (uint32_t i = 0; i < e->count; i++) forget_pages(&e->queues[i]);
  close(e->worker);
  munmap(e, sizeof *e);
}

static bool is_over(const struct Load* l) { return __atomic_load_n(&l->over, __ATOMIC_SEQ_CST); }

// Hands the queue to the worker of its generation. False: that one is gone.
static bool hand_over(struct Load* l, const struct ClientQueue* q) {
  pthread_rwlock_rdlock(&l->lock);
  const bool same = l->era->generation == q->generation;
  if (same) CHECK_OK(send_fd(l->era->inbox[1], q->fd));
  pthread_rwlock_unlock(&l->lock);
  return same;
}

// One queue until its worker is gone. How many jobs it did.
static uint64_t use_queue(struct Load* l, struct ClientQueue* q, uint32_t syncobj) {
  uint64_t jobs = 0, seed = test_seed() ^ q->number;
  if (!hand_over(l, q)) return 0;
  while (!is_over(l)) {
    const uint32_t count = 1 + (uint32_t)random_below(&seed, client_queue_room(q));
    const uint64_t last = submit_nops(q, count);
    const bool rung = ring_if_parked(q) == 0;
    const int armed = rung && random_below(&seed, 2) == 0 ? arm_point(q->drm, q->number, last, syncobj, 0) : -EINTR;
    const int result = wait_within(q, last, 60);
    if (armed == 0) {
      const int fence = await_fence(q->drm, syncobj, 0, 60);
      CHECK(fence == 1 || fence == -ENODEV);
    }
    if (result == -ENODEV) return jobs;
    // Lost before it was rung, with the work done already by a worker that was looking anyway.
    CHECK(rung || queue_state(q) == MLRING_STATE_LOST);
    CHECK(armed == 0 || armed == -EINTR || armed == -ENODEV);
    CHECK_OK(result);
    if (result != 0) return jobs;
    CHECK_EQ(read_all_completions(q), count);
    jobs++;
  }
  return jobs;
}

static void* submit_always(void* argument) {
  struct Load* l = argument;
  uint64_t jobs = 0, lost = 0;
  const int drm = device_open(&l->device);
  uint32_t context, syncobj;
  REQUIRE_OK(new_context(drm, &context));
  REQUIRE_OK(syncobj_create(drm, 0, &syncobj));
  while (!is_over(l)) {
    struct ClientQueue q;
    uint32_t memory;
    // There is always a worker: RECOVER is one step.
    REQUIRE_OK(client_queue_try_open(&q, drm, context, 8, -1));
    const int made = device_bo(drm, context, 1 << 20, 0, &memory);
    CHECK(made == 0 || made == -ENODEV);
    jobs += use_queue(l, &q, syncobj);
    lost += queue_state(&q) == MLRING_STATE_LOST;
    if (made == 0) CHECK_OK(gem_close(drm, memory));
    client_queue_close(&q);
  }
  struct drm_mlaccel_ctx_state state;
  CHECK_OK(ctx_state(drm, context, &state));
  CHECK_EQ(state.state & ~MLACCEL_CTX_INNOCENT, 0);
  CHECK_AS(state.resets, >=, lost);
  CHECK_EQ(state.memory_bytes, 0);
  close(drm);
  return (void*)(uintptr_t)jobs;
}

static void clients_go_on_through_recoveries_under_load(void) {
  struct Load l = {.over = false};
  const uint64_t rounds = test_rounds(25);
  struct Era* before = NULL;
  pthread_t threads[clients];
  device_setup(&l.device);
  pthread_rwlock_init(&l.lock, NULL);
  l.era = begin_era(&l, l.device.worker, l.device.generation);
  for (int i = 0; i < clients; i++) threads[i] = start_thread(submit_always, &l);

  for (uint64_t round = 0; round < rounds && !case_failed(); round++) {
    CHECK(EVENTUALLY_WITHIN(__atomic_load_n(&l.era->served, __ATOMIC_RELAXED) >= 50, 60));
    struct mlaccel_dev_start next = {.device = l.device.number, .fd = -1};
    pthread_rwlock_wrlock(&l.lock);
    struct Era* old = l.era;
    REQUIRE_OK(dev_recover(l.device.control, &next));
    CHECK_EQ(next.generation, old->generation + 1);
    l.era = begin_era(&l, next.fd, next.generation);
    pthread_rwlock_unlock(&l.lock);
    end_era(old);
    // It lives on beside the next one, as a process that hangs would.
    if (before != NULL) forget_era(before);
    before = old;
  }
  __atomic_store_n(&l.over, true, __ATOMIC_SEQ_CST);
  for (int i = 0; i < clients; i++) {
    void* jobs;
    pthread_join(threads[i], &jobs);
    note("client %d: %ju jobs", i, (uintmax_t)(uintptr_t)jobs);
    CHECK_AS((uintptr_t)jobs, >, 0);
  }
  CHECK_OK(dev_stop(l.device.control, l.device.number));
  end_era(l.era);
  forget_era(l.era);
  if (before != NULL) forget_era(before);
  CHECK(EVENTUALLY(memory_used(&l.device) == 0));
  CHECK(EVENTUALLY(user_bytes(&l.device, 0).host == 0));
  CHECK_OK(dev_unregister(l.device.control, l.device.number));
}

static void an_old_worker_can_not_touch_the_next_generation(void) {
  struct Device d;
  struct ClientQueue first, second;
  struct WorkerQueue old, now;
  device_setup(&d);
  const int drm = device_open(&d);
  client_queue_open(&first, drm, 8);
  worker_queue_map(&old, d.worker, d.generation, first.fd);
  submit_nops(&first, 2);
  const int old_worker = d.worker;
  struct mlaccel_dev_start next = {.device = d.number, .fd = -1};
  REQUIRE_OK(dev_recover(d.control, &next));
  CHECK_EQ(next.generation, d.generation + 1);
  client_queue_open(&second, drm, 8);
  CHECK_EQ(second.generation, next.generation);
  CHECK(second.number != first.number);

  // The new worker does not get the old one's queue, nor the old one the new one's.
  struct mlaccel_queue_map map;
  CHECK_ERR(queue_map(next.fd, first.fd, &map), ESTALE);
  CHECK_ERR(queue_map(old_worker, second.fd, &map), ENODEV);
  worker_queue_map(&now, next.fd, next.generation, second.fd);
  struct mlaccel_complete stale = {.queue = now.number, .generation = d.generation};
  CHECK_ERR(complete(next.fd, &stale), ESTALE);
  stale.queue = old.number;
  CHECK_ERR(complete(next.fd, &stale), ENOENT);
  memset(old.completion, 0xff, old.layout.completion_bytes);

  const uint64_t last = submit_nops(&second, 3);
  CHECK_OK(ring(&second));
  CHECK_EQ(serve(&now), 3);
  CHECK_OK(wait_within(&second, last, 20));
  CHECK_EQ(read_all_completions(&second), 3);
  CHECK_EQ(queue_state(&first), MLRING_STATE_LOST);
  // The old one's end takes nothing with it.
  forget_pages(&old);
  close(old_worker);
  CHECK_EQ(queue_state(&second), MLRING_STATE_ACTIVE);
  CHECK_OK(ring(&second));
  d.worker = next.fd;
  device_remove(&d);
}

static const struct Case cases[] = {
    {"clients_go_on_through_recoveries_under_load", clients_go_on_through_recoveries_under_load, 3600},
    {"an_old_worker_can_not_touch_the_next_generation", an_old_worker_can_not_touch_the_next_generation, 0},
};

int main(int argc, char** argv) { return RUN_CASES(argc, argv, cases); }
