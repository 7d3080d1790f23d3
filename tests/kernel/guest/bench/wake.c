// From a client's doorbell to a worker that slept for it, against an eventfd between the same two processes.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench/bench.h"
#include "support/device.h"
#include "support/process.h"
#include "support/tap.h"

enum { block = 100 };

// What the two processes share.
struct Shared {
  uint64_t rung_at;
  uint64_t done;  // rounds
  uint64_t switches[roles];
  uint64_t nanoseconds[];
};

struct Wake {
  bool doorbell;  // else an eventfd
  bool epoll;
  uint64_t rounds;
  struct Device* device;
  struct ClientQueue* queue;
  int event;
  struct Shared* shared;
};

static void sleep_once(const struct Wake* w, int epoll) {
  struct epoll_event ready;
  struct mlaccel_event event;
  uint64_t count;
  if (w->epoll) REQUIRE_EQ(epoll_wait(epoll, &ready, 1, -1), 1);
  if (w->doorbell)
    REQUIRE_EQ(read(w->device->worker, &event, sizeof event), (ssize_t)sizeof event);
  else
    REQUIRE_EQ(read(w->event, &count, sizeof count), (ssize_t)sizeof count);
}

static void worker(void* argument) {
  const struct Wake* w = argument;
  struct Shared* s = w->shared;
  pin_role(role_worker);
  const int epoll = REQUIRE_FD(epoll_create1(EPOLL_CLOEXEC));
  struct epoll_event wanted = {.events = EPOLLIN};
  REQUIRE_OK(epoll_ctl(epoll, EPOLL_CTL_ADD, w->doorbell ? w->device->worker : w->event, &wanted));
  const uint64_t before = voluntary_switches();
  mark(role_worker, true);
  for (uint64_t i = 0; i < w->rounds; i++) {
    sleep_once(w, epoll);
    if (!counting()) s->nanoseconds[i] = now_ns() - __atomic_load_n(&s->rung_at, __ATOMIC_ACQUIRE);
    __atomic_store_n(&s->done, i + 1, __ATOMIC_RELEASE);
  }
  mark(role_worker, false);
  s->switches[role_worker] = voluntary_switches() - before;
}

static void client(void* argument) {
  const struct Wake* w = argument;
  struct Shared* s = w->shared;
  const uint64_t one = 1;
  s->done = 0;
  pin_role(role_client);
  const pid_t child = fork_child(worker, argument);
  const int stat = open_stat(child);
  for (uint64_t i = 0; i < w->rounds; i++) {
    while (__atomic_load_n(&s->done, __ATOMIC_ACQUIRE) != i) continue;
    // A traced one is stopped instead, now and then; its calls are the same.
    while (!counting() && !sleeps(stat)) continue;
    const uint64_t before = voluntary_switches();
    __atomic_store_n(&s->rung_at, now_ns(), __ATOMIC_RELEASE);
    mark(role_client, true);
    if (w->doorbell)
      REQUIRE_OK(doorbell(w->queue->drm, w->queue->number));
    else
      REQUIRE_EQ(write(w->event, &one, sizeof one), (ssize_t)sizeof one);
    mark(role_client, false);
    s->switches[role_client] += voluntary_switches() - before;
  }
  REQUIRE_OK(wait_child(child, 60));
}

// What one way costs, gathered block by block.
struct WakeCosts {
  uint64_t* samples;
  uint64_t count;
  double switches[roles];
  struct Calls calls;
};

static void measure_block(struct Wake* w, struct WakeCosts* costs) {
  memset(w->shared->switches, 0, sizeof w->shared->switches);
  client(w);
  memcpy(costs->samples + costs->count, w->shared->nanoseconds, w->rounds * sizeof(uint64_t));
  costs->count += w->rounds;
  for (int role = 0; role < roles; role++) costs->switches[role] += (double)w->shared->switches[role];
  // Exact: whoever rings does not sleep.
  CHECK_EQ(w->shared->switches[role_client], 0);
}

static void measure_calls(struct Wake* w, struct WakeCosts* costs) {
  count_calls(client, w, &costs->calls);
  // Each of them, every time.
  const unsigned sleeps_in = w->epoll ? 2 : 1;
  CHECK_EQ(costs->calls.of[role_client], w->rounds);
  CHECK_EQ(costs->calls.of[role_worker], w->rounds * sleeps_in);
}

static void report(const char* bench, struct WakeCosts* ours, struct WakeCosts* peer) {
  print_times(bench, "worker asleep, other CPU", ours->samples, ours->count, "eventfd", peer->samples, peer->count);
  for (int role = 0; role < roles; role++) {
    char config[64];
    const char* name = role == role_client ? "client" : "worker";
    snprintf(config, sizeof config, "system calls of the %s", name);
    print_figure(bench, config, (double)ours->calls.of[role] / block, "per wake", "eventfd",
                 (double)peer->calls.of[role] / block);
    snprintf(config, sizeof config, "context switches of the %s", name);
    print_figure(bench, config, ours->switches[role] / (double)ours->count, "per wake", "eventfd",
                 peer->switches[role] / (double)peer->count);
  }
}

static void wake(bool epoll) {
  struct Device d;
  struct ClientQueue q;
  struct mlaccel_queue_map map;
  const uint64_t blocks = test_rounds_within(1000, 10000) / block + 1;
  device_setup(&d);
  client_queue_open(&q, device_open(&d), 8);
  REQUIRE_OK(queue_map(d.worker, q.fd, &map));
  struct Shared* shared = mmap(NULL, sizeof *shared + block * sizeof(uint64_t), PROT_READ | PROT_WRITE,
                               MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  REQUIRE(shared != MAP_FAILED);
  struct Wake ours = {.doorbell = true, .epoll = epoll, .rounds = block, .device = &d, .queue = &q, .shared = shared};
  struct Wake peer = ours;
  peer.doorbell = false;
  peer.event = REQUIRE_FD(eventfd(0, EFD_CLOEXEC));
  struct WakeCosts costs = {.samples = calloc(blocks * block, sizeof(uint64_t))};
  struct WakeCosts peer_costs = {.samples = calloc(blocks * block, sizeof(uint64_t))};
  // In turns, so that what the machine does besides falls on both.
  for (uint64_t i = 0; i < blocks; i++) {
    measure_block(&ours, &costs);
    measure_block(&peer, &peer_costs);
  }
  measure_calls(&ours, &costs);
  measure_calls(&peer, &peer_costs);
  report(epoll ? "kernel_doorbell_wake_epoll" : "kernel_doorbell_wake_read", &costs, &peer_costs);
  device_remove(&d);
}

void a_doorbell_wakes_the_worker_in_read(void) { wake(false); }

void a_doorbell_wakes_the_worker_in_epoll(void) { wake(true); }
