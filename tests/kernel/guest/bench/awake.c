// Both sides awake and nobody waiting: descriptors and completions go through shared memory alone.
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench/bench.h"
#include "support/device.h"
#include "support/process.h"
#include "support/tap.h"

struct Pair {
  struct ClientQueue* client;
  struct WorkerQueue* worker;
  uint64_t rounds;
  // Shared: what the two say to each other beside the rings, and what they measure.
  struct PairShared {
    uint64_t ready, stop;
    uint64_t switches[roles];
    uint64_t nanoseconds[];
  } * shared;
};

static void spin_worker(void* argument) {
  const struct Pair* p = argument;
  struct WorkerQueue* q = p->worker;
  uint64_t served = 0, called = 0;
  pin_role(role_worker);
  const uint64_t before = voluntary_switches();
  __atomic_store_n(&p->shared->ready, 1, __ATOMIC_RELEASE);
  mark(role_worker, true);
  while (served < p->rounds) {
    const uint32_t count = take_descriptors(q, UINT32_MAX);
    if (count == 0) continue;
    const uint64_t watermark = q->completed;
    publish_completions(q, count, 1);
    (void)notify_if_due(q, watermark, &called);
    served += count;
  }
  mark(role_worker, false);
  p->shared->switches[role_worker] = voluntary_switches() - before;
  CHECK_EQ(called, 0);
}

static void spin_client(void* argument) {
  const struct Pair* p = argument;
  struct ClientQueue* q = p->client;
  struct mlring_completion c;
  enum { batch = 50 };
  pin_role(role_client);
  p->shared->ready = 0;
  const pid_t child = fork_child(spin_worker, argument);
  while (!__atomic_load_n(&p->shared->ready, __ATOMIC_ACQUIRE)) continue;
  const uint64_t before = voluntary_switches();
  mark(role_client, true);
  for (uint64_t i = 0; i < p->rounds; i += batch) {
    const uint64_t start = counting() ? 0 : now_ns();
    for (int k = 0; k < batch; k++) {
      submit_nops(q, 1);
      (void)ring_if_parked(q);
      while (!read_completion(q, &c)) continue;
    }
    if (!counting()) p->shared->nanoseconds[i / batch] = (now_ns() - start) / batch;
  }
  mark(role_client, false);
  p->shared->switches[role_client] = voluntary_switches() - before;
  REQUIRE_OK(wait_child(child, 60));
}

static double measure(struct Pair* p, struct Calls* calls) {
  spin_client(p);
  const double median = median_of(p->shared->nanoseconds, p->rounds / 50);
  CHECK_EQ(p->shared->switches[role_client], 0);
  CHECK_EQ(p->shared->switches[role_worker], 0);
  // The worker's end moved on in a process that is gone.
  p->worker->taken = p->worker->completed = p->client->next;
  count_calls(spin_client, p, calls);
  return median;
}

void both_sides_awake_make_no_system_call(void) {
  struct Device d;
  struct ClientQueue q, plain_client;
  struct WorkerQueue w, plain_worker;
  struct Calls calls, peer_calls;
  const uint64_t rounds = test_rounds_within(1000, 50000) / 50 * 50 + 50;
  device_setup(&d);
  client_queue_open(&q, device_open(&d), 64);
  worker_queue_map(&w, d.worker, d.generation, q.fd);
  plain_queue(&plain_client, &plain_worker, 64);
  struct PairShared* shared = mmap(NULL, sizeof *shared + rounds * sizeof(uint64_t), PROT_READ | PROT_WRITE,
                                   MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  REQUIRE(shared != MAP_FAILED);
  struct Pair ours = {.client = &q, .worker = &w, .rounds = rounds, .shared = shared};
  struct Pair peer = {.client = &plain_client, .worker = &plain_worker, .rounds = rounds, .shared = shared};
  const double median = measure(&ours, &calls), peer_median = measure(&peer, &peer_calls);
  CHECK_EQ(calls.of[role_client], 0);
  CHECK_EQ(calls.of[role_worker], 0);
  print_figure("kernel_nop_awake", "round trip, both spinning", median, "ns", "rings in a memfd", peer_median);
  print_figure("kernel_nop_awake", "system calls of both", (double)(calls.of[role_client] + calls.of[role_worker]),
               "in all", "rings in a memfd", (double)(peer_calls.of[role_client] + peer_calls.of[role_worker]));
  // All of it was seen by the kernel all the same.
  uint64_t completed = 0;
  CHECK_OK(wait_sequence(q.drm, q.number, (uint64_t)MLRING_START + 2 * rounds - 1, 0, &completed));
  CHECK_EQ(completed, (uint64_t)MLRING_START + 2 * rounds);
  device_remove(&d);
}
