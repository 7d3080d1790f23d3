// Doorbells in floods, and eventfds that are closed, drained or full: events stay few, and the kernel never blocks.
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "support/client_queue.h"
#include "support/device.h"
#include "support/process.h"
#include "support/tap.h"
#include "support/worker_queue.h"

// ---- doorbells

struct Flood {
  struct ClientQueue* queue;
  uint64_t rings;  // 0: until it is over
  bool over;
  uint64_t rung;
};

static void* ring_and_ring(void* argument) {
  struct Flood* f = argument;
  while (!__atomic_load_n(&f->over, __ATOMIC_SEQ_CST)) {
    CHECK_OK(ring(f->queue));
    const uint64_t rung = __atomic_add_fetch(&f->rung, 1, __ATOMIC_SEQ_CST);
    if (f->rings != 0 && rung >= f->rings) break;
  }
  return NULL;
}

static uint64_t unreclaimable_kib(void) {
  static char text[16384];
  REQUIRE(read_text("/proc/meminfo", text, sizeof text));
  const char* line = strstr(text, "SUnreclaim:");
  REQUIRE(line != NULL);
  return strtoull(line + strlen("SUnreclaim:"), NULL, 10);
}

static void rings_that_nobody_has_looked_at_are_one_event(void) {
  enum { threads = 3 };
  struct Device d;
  struct ClientQueue q;
  struct WorkerQueue w;
  struct mlaccel_event events[16];
  pthread_t flood[threads];
  device_setup(&d);
  client_queue_open(&q, device_open(&d), 8);
  struct Flood f = {.queue = &q, .rings = 20000};
  // Before the worker has the queue, and behind.
  for (int i = 0; i < 2; i++) {
    const uint64_t before = unreclaimable_kib();
    f.rung = 0;
    for (int j = 0; j < threads; j++) flood[j] = start_thread(ring_and_ring, &f);
    for (int j = 0; j < threads; j++) pthread_join(flood[j], NULL);
    CHECK_AS(f.rung, >=, f.rings);
    const uint64_t after = unreclaimable_kib();
    CHECK_AS(after, <, before + 16384);
    if (i == 0) {
      CHECK_ERR(next_events(d.worker, events, 16), EAGAIN);
      worker_queue_map(&w, d.worker, d.generation, q.fd);
    }
    CHECK_EQ(next_events(d.worker, events, 16), 1);
    CHECK_EQ(events[0].bits, MLACCEL_EVENT_DOORBELL);
    CHECK_EQ(events[0].queue, w.number);
    CHECK_ERR(next_events(d.worker, events, 16), EAGAIN);
  }
  device_remove(&d);
}

static void other_doorbells_arrive_through_a_flood(void) {
  enum { threads = 3 };
  struct Device d;
  struct FakeWorker worker = {.worker = -1};
  struct ClientQueue hostile[threads], q;
  struct Flood floods[threads];
  pthread_t flood[threads];
  device_setup(&d);
  fake_worker_start(&worker, d.worker, d.generation);
  for (int i = 0; i < threads; i++) {
    // More important than the one that suffers, where that is allowed.
    struct drm_mlaccel_ctx_create context = {.priority = i == 0 ? 1 : 0};
    const int drm = device_open(&d);
    REQUIRE_OK(ctx_create(drm, &context));
    REQUIRE_OK(client_queue_try_open(&hostile[i], drm, context.context, 8, -1));
    fake_worker_add(&worker, hostile[i].fd);
    floods[i] = (struct Flood){.queue = &hostile[i]};
    flood[i] = start_thread(ring_and_ring, &floods[i]);
  }
  struct drm_mlaccel_ctx_create low = {.priority = -1};
  const int drm = device_open(&d);
  REQUIRE_OK(ctx_create(drm, &low));
  REQUIRE_OK(client_queue_try_open(&q, drm, low.context, 8, -1));
  fake_worker_add(&worker, q.fd);
  for (int i = 0; i < 50; i++) {
    const uint64_t last = submit_nops(&q, 1);
    CHECK_OK(ring(&q));
    if (!CHECK_OK(wait_within(&q, last, 30))) break;
    CHECK_EQ(read_all_completions(&q), 1);
  }
  uint64_t rung = 0;
  for (int i = 0; i < threads; i++) {
    __atomic_store_n(&floods[i].over, true, __ATOMIC_SEQ_CST);
    pthread_join(flood[i], NULL);
    rung += floods[i].rung;
  }
  fake_worker_stop(&worker);
  note("%ju rings were %ju events", (uintmax_t)rung, (uintmax_t)worker.events);
  CHECK_AS(worker.events, <=, rung + 100);
  device_remove(&d);
}

static void events_that_could_not_be_written_are_told_again(void) {
  struct Device d;
  struct ClientQueue q[3];
  struct WorkerQueue w[3];
  struct mlaccel_event events[8];
  device_setup(&d);
  const int drm = device_open(&d);
  char* edge = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(edge != MAP_FAILED);
  REQUIRE_OK(mprotect(edge + 4096, 4096, PROT_NONE));
  for (int i = 0; i < 3; i++) {
    client_queue_open(&q[i], drm, 8);
    worker_queue_map(&w[i], d.worker, d.generation, q[i].fd);
  }
  for (unsigned round = 0; round < 4; round++) {
    for (int i = 0; i < 3; i++) CHECK_OK(ring(&q[i]));
    char* const to[] = {edge + 4096, edge + 4096 - 1, NULL, edge + 4096 - 3 * sizeof events[0] + 1};
    const ssize_t got = read(d.worker, to[round], sizeof events);
    // Some may have been written whole; what was not is still due.
    CHECK(got == -1 ? errno == EFAULT : got % (ssize_t)sizeof events[0] == 0);
    unsigned told = got < 0 ? 0 : (unsigned)((size_t)got / sizeof events[0]);
    const int rest = next_events(d.worker, events, 8);
    if (rest > 0) told += (unsigned)rest;
    CHECK_EQ(told, 3);
  }
  device_remove(&d);
}

// ---- eventfds

struct Woken {
  struct Device device;
  int drm;
  int wake;
  struct ClientQueue queue;
  struct WorkerQueue at_worker;
};

static void woken_make(struct Woken* k, unsigned count, int flags) {
  uint32_t context;
  device_setup(&k->device);
  k->drm = device_open(&k->device);
  k->wake = REQUIRE_FD(eventfd(count, EFD_CLOEXEC | flags));
  REQUIRE_OK(new_context(k->drm, &context));
  REQUIRE_OK(client_queue_try_open(&k->queue, k->drm, context, 8, k->wake));
  worker_queue_map(&k->at_worker, k->device.worker, k->device.generation, k->queue.fd);
}

static void check_round(struct Woken* k) {
  const uint64_t last = submit_nops(&k->queue, 2);
  CHECK_OK(ring(&k->queue));
  CHECK_EQ(take_descriptors(&k->at_worker, 2), 2);
  publish_completions(&k->at_worker, 2, 1);
  CHECK_OK(complete_queue(&k->at_worker, MLACCEL_COMPLETE_WAKE));
  CHECK_OK(wait_within(&k->queue, last, 30));
  CHECK_EQ(read_all_completions(&k->queue), 2);
}

static void a_closed_eventfd_harms_nobody(void) {
  struct Woken k;
  woken_make(&k, 0, EFD_NONBLOCK);
  close(k.wake);
  // Its number is soon somebody else's, who must not hear of it.
  const int stranger = REQUIRE_FD(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  CHECK_EQ(stranger, k.wake);
  uint64_t count = 0;
  for (int i = 0; i < 20; i++) check_round(&k);
  CHECK_OK(queue_end(k.device.worker, k.at_worker.number, MLRING_STATE_FAULTED));
  CHECK_EQ(read(stranger, &count, sizeof count), -1);
  CHECK_EQ(errno, EAGAIN);
  device_remove(&k.device);
}

struct Drain {
  int fd;
  bool over;
  uint64_t taken;
};

static void* drain(void* argument) {
  struct Drain* d = argument;
  while (!__atomic_load_n(&d->over, __ATOMIC_SEQ_CST)) {
    struct pollfd wait = {.fd = d->fd, .events = POLLIN};
    uint64_t count;
    if (poll(&wait, 1, 10) > 0 && read(d->fd, &count, sizeof count) == sizeof count) d->taken += count;
  }
  return NULL;
}

static void a_drained_eventfd_loses_no_completion(void) {
  struct Woken k;
  woken_make(&k, 0, EFD_NONBLOCK);
  struct Drain thief = {.fd = k.wake};
  const pthread_t thread = start_thread(drain, &thief);
  for (int i = 0; i < 200; i++) check_round(&k);
  __atomic_store_n(&thief.over, true, __ATOMIC_SEQ_CST);
  pthread_join(thread, NULL);
  uint64_t count = 0;
  if (read(k.wake, &count, sizeof count) < 0) count = 0;
  CHECK_EQ(thief.taken + count, 200);
  device_remove(&k.device);
}

static void a_full_eventfd_blocks_neither_the_kernel_nor_the_worker(void) {
  static const int flags[] = {0, EFD_NONBLOCK, EFD_SEMAPHORE};
  for (int i = 0; i < 3; i++) {
    struct Woken k;
    woken_make(&k, 0, flags[i]);
    const uint64_t full = UINT64_MAX - 1;
    REQUIRE_EQ(write(k.wake, &full, sizeof full), (ssize_t)sizeof full);
    for (int j = 0; j < 20; j++) check_round(&k);
    // So does the end of the queue.
    CHECK_OK(queue_end(k.device.worker, k.at_worker.number, MLRING_STATE_CLOSED));
    uint64_t count = 0;
    CHECK_EQ(read(k.wake, &count, sizeof count), (ssize_t)sizeof count);
    CHECK(i == 2 ? count == 1 : count >= full);
    close(k.wake);
    device_remove(&k.device);
  }
}

static void one_eventfd_serves_many_queues(void) {
  struct Woken k;
  struct ClientQueue more[8];
  woken_make(&k, 0, EFD_NONBLOCK);
  for (int i = 0; i < 8; i++) REQUIRE_OK(client_queue_try_open(&more[i], k.drm, k.queue.context, 8, k.wake));
  // It watches itself by way of epoll, which must not go round for ever.
  const int watch = REQUIRE_FD(epoll_create1(EPOLL_CLOEXEC));
  struct epoll_event event = {.events = EPOLLIN | EPOLLET};
  REQUIRE_OK(epoll_ctl(watch, EPOLL_CTL_ADD, k.wake, &event));
  REQUIRE_OK(epoll_ctl(watch, EPOLL_CTL_ADD, k.device.worker, &event));
  check_round(&k);
  CHECK_AS(epoll_wait(watch, &event, 1, 20000), ==, 1);
  CHECK_OK(dev_stop(k.device.control, k.device.number));
  uint64_t count = 0;
  CHECK_EQ(read(k.wake, &count, sizeof count), (ssize_t)sizeof count);
  // One for the completion, one for the end of each queue.
  CHECK_EQ(count, 1 + 9);
  CHECK_AS(epoll_wait(watch, &event, 1, 20000), ==, 1);
  device_remove(&k.device);
}

static const struct Case cases[] = {
    {"rings_that_nobody_has_looked_at_are_one_event", rings_that_nobody_has_looked_at_are_one_event, 0},
    {"other_doorbells_arrive_through_a_flood", other_doorbells_arrive_through_a_flood, 0},
    {"events_that_could_not_be_written_are_told_again", events_that_could_not_be_written_are_told_again, 0},
    {"a_closed_eventfd_harms_nobody", a_closed_eventfd_harms_nobody, 0},
    {"a_drained_eventfd_loses_no_completion", a_drained_eventfd_loses_no_completion, 0},
    {"a_full_eventfd_blocks_neither_the_kernel_nor_the_worker", a_full_eventfd_blocks_neither_the_kernel_nor_the_worker,
     0},
    {"one_eventfd_serves_many_queues", one_eventfd_serves_many_queues, 0},
};

int main(int argc, char** argv) { return RUN_CASES(argc, argv, cases); }
