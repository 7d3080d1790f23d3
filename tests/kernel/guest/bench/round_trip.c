// A NOP there and back while both sides sleep: over a kernel queue (DOORBELL, read, COMPLETE, eventfd or WAIT), and as
// the unix transport does it, with rings in a memfd and an eventfd for each direction.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench/bench.h"
#include "support/device.h"
#include "support/process.h"
#include "support/tap.h"

enum { block = 100 };  // trips

enum Way { by_kernel, by_kernel_wait, by_eventfds, ways };
static const char* const way_names[ways] = {"DOORBELL, eventfd", "DOORBELL, WAIT", "two eventfds"};

struct Trip {
  enum Way way;
  struct ClientQueue* client;
  struct WorkerQueue* worker;
  int doorbell, wake;  // eventfds
  struct TripShared {
    uint64_t switches[roles];
    uint64_t nanoseconds[];
  } * shared;
};

static void signal_eventfd(int fd) {
  const uint64_t one = 1;
  REQUIRE_EQ(write(fd, &one, sizeof one), (ssize_t)sizeof one);
}

static void await_eventfd(int fd) {
  uint64_t count;
  REQUIRE_EQ(read(fd, &count, sizeof count), (ssize_t)sizeof count);
}

static void worker_sleeps(const struct Trip* t) {
  struct mlaccel_event event;
  if (t->way == by_eventfds)
    await_eventfd(t->doorbell);
  else
    REQUIRE_EQ(read(t->worker->worker, &event, sizeof event), (ssize_t)sizeof event);
}

static void worker_answers(const struct Trip* t) {
  struct WorkerQueue* q = t->worker;
  const uint64_t before = q->completed;
  REQUIRE_EQ(take_descriptors(q, 1), 1);
  publish_completions(q, 1, 1);
  if (t->way != by_eventfds)
    REQUIRE_OK(notify_if_due(q, before, NULL));
  else if (mlring_client_needs_wake(q->submission, (uint32_t)before, (uint32_t)q->completed))
    signal_eventfd(t->wake);
}

static void worker(void* argument) {
  const struct Trip* t = argument;
  pin_role(role_worker);
  const uint64_t before = voluntary_switches();
  mark(role_worker, true);
  // Always parked: who waits for the next doorbell looks at the ring when it has come.
  for (uint64_t i = 0; i < block; i++) {
    worker_sleeps(t);
    worker_answers(t);
  }
  mark(role_worker, false);
  t->shared->switches[role_worker] = voluntary_switches() - before;
}

static void client_trip(const struct Trip* t) {
  struct ClientQueue* q = t->client;
  struct mlring_completion c;
  // Armed in front of the doorbell, so that the wake always comes.
  if (t->way != by_kernel_wait) mlring_client_arm(q->submission, (uint32_t)q->next + 1);
  const uint64_t sequence = submit_nops(q, 1);
  if (t->way == by_eventfds)
    signal_eventfd(t->doorbell);
  else
    REQUIRE_OK(doorbell(q->drm, q->number));
  if (t->way == by_kernel_wait)
    REQUIRE_OK(wait_sequence(q->drm, q->number, sequence, UINT64_MAX, NULL));
  else
    await_eventfd(t->wake);
  REQUIRE(read_completion(q, &c));
}

static void client(void* argument) {
  const struct Trip* t = argument;
  pin_role(role_client);
  const pid_t child = fork_child(worker, argument);
  const int stat = open_stat(child);
  uint64_t switches = 0;
  for (uint64_t i = 0; i < block; i++) {
    while (!counting() && !sleeps(stat)) continue;
    const uint64_t before = voluntary_switches(), start = now_ns();
    mark(role_client, true);
    client_trip(t);
    mark(role_client, false);
    if (!counting()) t->shared->nanoseconds[i] = now_ns() - start;
    switches += voluntary_switches() - before;
  }
  REQUIRE_OK(wait_child(child, 60));
  t->shared->switches[role_client] = switches;
}

// What one way costs, gathered block by block.
struct TripCosts {
  uint64_t* samples;
  uint64_t count;
  double switches[roles];
  struct Calls calls;
};

static void measure_block(struct Trip* t, struct TripCosts* costs) {
  client(t);
  memcpy(costs->samples + costs->count, t->shared->nanoseconds, block * sizeof(uint64_t));
  costs->count += block;
  for (int role = 0; role < roles; role++) costs->switches[role] += (double)t->shared->switches[role];
  // The worker's end moved on in a process that is gone.
  t->worker->taken = t->worker->completed = t->client->next;
}

static void measure_calls(struct Trip* t, struct TripCosts* costs) {
  count_calls(client, t, &costs->calls);
  CHECK_EQ(costs->calls.of[role_client], 2 * block);
  // Who comes to WAIT late enough finds it done, and the worker had nobody to tell.
  CHECK_AS(costs->calls.of[role_worker], <=, 2 * block);
  if (t->way != by_kernel_wait) CHECK_EQ(costs->calls.of[role_worker], 2 * block);
}

static void report(struct TripCosts costs[ways], enum Way way) {
  const char* bench = way == by_kernel ? "kernel_round_trip" : "kernel_round_trip_wait";
  const char* peer_name = way_names[by_eventfds];
  const struct TripCosts *ours = &costs[way], *peer = &costs[by_eventfds];
  char config[96];
  snprintf(config, sizeof config, "NOP, both asleep, %s", way_names[way]);
  print_times(bench, config, ours->samples, ours->count, peer_name, peer->samples, peer->count);
  for (int role = 0; role < roles; role++) {
    const char* name = role == role_client ? "client" : "worker";
    snprintf(config, sizeof config, "system calls of the %s", name);
    print_figure(bench, config, (double)ours->calls.of[role] / block, "per trip", peer_name,
                 (double)peer->calls.of[role] / block);
    snprintf(config, sizeof config, "context switches of the %s", name);
    print_figure(bench, config, ours->switches[role] / (double)ours->count, "per trip", peer_name,
                 peer->switches[role] / (double)peer->count);
  }
}

void a_round_trip_asleep_takes_four_calls(void) {
  struct Device d;
  struct ClientQueue clients[ways];
  struct WorkerQueue workers[ways];
  struct Trip trips[ways];
  struct TripCosts costs[ways];
  uint32_t context;
  const uint64_t blocks = test_rounds_within(1000, 10000) / block + 1;
  struct TripShared* shared = mmap(NULL, sizeof *shared + block * sizeof(uint64_t), PROT_READ | PROT_WRITE,
                                   MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  REQUIRE(shared != MAP_FAILED);
  device_setup(&d);
  const int drm = device_open(&d);
  REQUIRE_OK(new_context(drm, &context));
  for (int way = 0; way < ways; way++) {
    costs[way] = (struct TripCosts){.samples = calloc(blocks * block, sizeof(uint64_t))};
    trips[way] = (struct Trip){.way = (enum Way)way,
                               .client = &clients[way],
                               .worker = &workers[way],
                               .doorbell = REQUIRE_FD(eventfd(0, EFD_CLOEXEC)),
                               .wake = REQUIRE_FD(eventfd(0, EFD_CLOEXEC)),
                               .shared = shared};
    if (way == by_eventfds) {
      plain_queue(&clients[way], &workers[way], 8);
    } else {
      REQUIRE_OK(client_queue_try_open(&clients[way], drm, context, 8, trips[way].wake));
      worker_queue_map(&workers[way], d.worker, d.generation, clients[way].fd);
    }
  }
  // In turns, so that what the machine does besides falls on all of them.
  for (uint64_t i = 0; i < blocks; i++)
    for (int way = 0; way < ways; way++) measure_block(&trips[way], &costs[way]);
  for (int way = 0; way < ways; way++) measure_calls(&trips[way], &costs[way]);
  report(costs, by_kernel);
  report(costs, by_kernel_wait);
  device_remove(&d);
}
