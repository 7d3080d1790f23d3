// Workers that stand still: fences end in time, guilt needs work that was said to run, other devices run on.
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "support/client_queue.h"
#include "support/device.h"
#include "support/faults.h"
#include "support/process.h"
#include "support/tap.h"
#include "support/worker_queue.h"

struct Stopping {
  int worker;
  uint32_t generation;
  int queue_fd;
  int socket;
  bool running;  // says so before it stops
};

// Takes one descriptor and stops itself; when it goes on it serves until it is told to leave.
static void stop_in_the_middle(void* argument) {
  const struct Stopping* w = argument;
  struct WorkerQueue q;
  worker_queue_map(&q, w->worker, w->generation, w->queue_fd);
  CHECK_EQ(take_descriptors(&q, 1), 1);
  if (w->running) say_running(&q, now_ns());
  tell(w->socket, 'm');
  raise(SIGSTOP);
  say_running(&q, 0);
  struct mlaccel_event event;
  uint32_t bits = 0;
  while (next_events(w->worker, &event, 1) == 1) bits |= event.queue == q.number ? event.bits : 0;
  publish_completions(&q, 1, 1);
  const int result = complete_queue(&q, 0);
  if (result == 0) CHECK_EQ(serve(&q), 1);
  tell(w->socket, result == 0 ? 's' : bits & MLACCEL_EVENT_HUNG ? 'h' : bits & MLACCEL_EVENT_ENDED ? 'e' : '?');
  (void)hear(w->socket);
}

struct Stalled {
  struct Device device;
  int drm;
  struct ClientQueue queue;
  uint64_t last;
  uint32_t syncobj;
  int socket;
  pid_t worker;
};

// A client with two descriptors at a worker that has stopped behind taking the first.
static void stall(struct Stalled* s, uint64_t timeout_ns, bool running) {
  int sockets[2];
  struct drm_mlaccel_ctx_create context = {.timeout_ns = timeout_ns};
  device_setup(&s->device);
  socket_pair(sockets);
  s->socket = sockets[0];
  s->drm = device_open(&s->device);
  REQUIRE_OK(ctx_create(s->drm, &context));
  REQUIRE_OK(client_queue_try_open(&s->queue, s->drm, context.context, 8, -1));
  REQUIRE_OK(syncobj_create(s->drm, 0, &s->syncobj));
  s->last = submit_nops(&s->queue, 2);
  struct Stopping w = {.worker = s->device.worker,
                       .generation = s->device.generation,
                       .queue_fd = s->queue.fd,
                       .socket = sockets[1],
                       .running = running};
  s->worker = fork_child(stop_in_the_middle, &w);
  close(sockets[1]);
  REQUIRE_EQ(hear(s->socket), 'm');
  REQUIRE(await_state(s->worker, 'T'));
}

static int arm(struct Stalled* s, uint64_t timeout_ns) {
  struct drm_mlaccel_fence_arm a = {
      .queue = s->queue.number, .sequence = s->last, .syncobj = s->syncobj, .timeout_ns = timeout_ns};
  return fence_arm(s->drm, &a);
}

static uint32_t state_of(int drm, uint32_t context) {
  struct drm_mlaccel_ctx_state c;
  REQUIRE_OK(ctx_state(drm, context, &c));
  return c.state;
}

static void waiting_for_a_turn_at_a_stopped_worker_is_innocent(void) {
  struct Stalled s;
  stall(&s, MILLISECONDS(100), false);
  REQUIRE_OK(arm(&s, MILLISECONDS(200)));
  CHECK_EQ(await_fence(s.drm, s.syncobj, 0, 30), -ETIMEDOUT);
  CHECK_EQ(state_of(s.drm, s.queue.context), MLACCEL_CTX_INNOCENT);
  CHECK_EQ(queue_state(&s.queue), MLRING_STATE_ACTIVE);
  CHECK_ERR(wait_sequence(s.drm, s.queue.number, s.last, now_ns() + MILLISECONDS(20), NULL), ETIME);
  // Again, with a fence of the context's own timeout.
  REQUIRE_OK(arm(&s, 0));
  CHECK_EQ(await_fence(s.drm, s.syncobj, 0, 30), -ETIMEDOUT);

  kill(s.worker, SIGCONT);
  CHECK_OK(wait_within(&s.queue, s.last, 30));
  CHECK_EQ(hear(s.socket), 's');
  CHECK_EQ(state_of(s.drm, s.queue.context), MLACCEL_CTX_INNOCENT);
  device_remove(&s.device);
}

static void work_that_runs_without_progress_makes_its_context_guilty(void) {
  const uint64_t usual = module_parameter("watchdog_ms");
  set_module_parameter("watchdog_ms", 50);
  struct Stalled s;
  struct ClientQueue sister, stranger, late;
  stall(&s, MILLISECONDS(300), true);
  REQUIRE_OK(client_queue_try_open(&sister, s.drm, s.queue.context, 8, -1));
  client_queue_open(&stranger, s.drm, 8);
  REQUIRE_OK(arm(&s, SECONDS(9)));

  CHECK_ERR(wait_within(&s.queue, s.last, 30), ETIMEDOUT);
  CHECK_EQ(await_fence(s.drm, s.syncobj, 0, 1), -ETIMEDOUT);
  CHECK_EQ(queue_state(&s.queue), MLRING_STATE_LOST);
  CHECK_ERR(ring(&s.queue), ETIMEDOUT);
  CHECK_ERR(arm(&s, 0), ETIMEDOUT);
  CHECK_EQ(state_of(s.drm, s.queue.context), MLACCEL_CTX_GUILTY);
  CHECK(EVENTUALLY(queue_state(&sister) == MLRING_STATE_CLOSED));
  CHECK_ERR(ring(&sister), ECANCELED);
  CHECK_ERR(client_queue_try_open(&late, s.drm, s.queue.context, 8, -1), ECANCELED);
  CHECK_EQ(state_of(s.drm, stranger.context), 0);
  CHECK_EQ(queue_state(&stranger), MLRING_STATE_ACTIVE);
  CHECK_OK(ring(&stranger));

  kill(s.worker, SIGCONT);
  CHECK_EQ(hear(s.socket), 'h');
  set_module_parameter("watchdog_ms", usual);
  device_remove(&s.device);
}

static void a_fence_that_expires_while_its_work_runs_is_judged_by_the_context(void) {
  struct Stalled s;
  stall(&s, SECONDS(600), true);
  REQUIRE_OK(arm(&s, MILLISECONDS(100)));
  CHECK_EQ(await_fence(s.drm, s.syncobj, 0, 30), -ETIMEDOUT);
  // It ran, so nobody else is to blame; it may run for ten minutes, so it is not guilty.
  CHECK_EQ(state_of(s.drm, s.queue.context), 0);
  CHECK_EQ(queue_state(&s.queue), MLRING_STATE_ACTIVE);
  kill(s.worker, SIGCONT);
  CHECK_OK(wait_within(&s.queue, s.last, 30));
  device_remove(&s.device);
}

static void work_that_makes_progress_is_not_hung(void) {
  const uint64_t usual = module_parameter("watchdog_ms");
  set_module_parameter("watchdog_ms", 50);
  struct Device d;
  struct ClientQueue q;
  struct WorkerQueue w;
  struct drm_mlaccel_ctx_create context = {.timeout_ns = SECONDS(3)};
  device_setup(&d);
  const int drm = device_open(&d);
  REQUIRE_OK(ctx_create(drm, &context));
  REQUIRE_OK(client_queue_try_open(&q, drm, context.context, 64, -1));
  worker_queue_map(&w, d.worker, d.generation, q.fd);
  const uint64_t last = submit_nops(&q, 42);
  CHECK_EQ(take_descriptors(&w, 42), 42);
  // Of a run that has lasted for longer than the timeout from the start.
  say_running(&w, now_ns() - SECONDS(60));
  for (unsigned i = 0; i < 40; i++) {
    pause_ns(MILLISECONDS(100));
    publish_completions(&w, 1, MILLISECONDS(100));
    CHECK_OK(complete_queue(&w, 0));
  }
  publish_completions(&w, 2, 0);
  CHECK_OK(complete_queue(&w, 0));
  CHECK_OK(wait_within(&q, last, 20));
  CHECK_EQ(state_of(drm, q.context), 0);
  set_module_parameter("watchdog_ms", usual);
  device_remove(&d);
}

static void other_devices_run_on_while_a_worker_stands_still(void) {
  struct Stalled s;
  struct Device other;
  struct FakeWorker worker = {.worker = -1};
  struct ClientQueue q;
  stall(&s, 0, false);
  REQUIRE_OK(arm(&s, MILLISECONDS(300)));
  device_add(&other, s.device.control, &(struct DeviceOptions){.memory_bytes = 0});
  fake_worker_start(&worker, other.worker, other.generation);
  const int drm = device_open(&other);
  client_queue_open(&q, drm, 8);
  fake_worker_add(&worker, q.fd);
  for (unsigned i = 0; i < 100; i++) {
    const uint64_t last = submit_nops(&q, 4);
    CHECK_OK(ring_if_parked(&q));
    CHECK_OK(wait_within(&q, last, 30));
    CHECK_EQ(read_all_completions(&q), 4);
  }
  uint32_t handle;
  CHECK_OK(device_bo(drm, q.context, 1 << 20, 0, &handle));
  CHECK_EQ(await_fence(s.drm, s.syncobj, 0, 30), -ETIMEDOUT);
  // The stopped one can be replaced from outside.
  struct mlaccel_dev_start next = {.device = s.device.number, .fd = -1};
  CHECK_OK(dev_recover(s.device.control, &next));
  CHECK_ERR(wait_within(&s.queue, s.last, 1), ENODEV);
  CHECK_EQ(state_of(s.drm, s.queue.context), MLACCEL_CTX_INNOCENT);
  client_queue_open(&s.queue, s.drm, 8);
  CHECK_OK(ring(&s.queue));
  kill(s.worker, SIGKILL);
  CHECK_EQ(wait_child(s.worker, 60), 128 + SIGKILL);
  CHECK_EQ(queue_state(&s.queue), MLRING_STATE_ACTIVE);
  fake_worker_stop(&worker);
  close(next.fd);
}

static const struct Case cases[] = {
    {"waiting_for_a_turn_at_a_stopped_worker_is_innocent", waiting_for_a_turn_at_a_stopped_worker_is_innocent, 0},
    {"work_that_runs_without_progress_makes_its_context_guilty",
     work_that_runs_without_progress_makes_its_context_guilty, 0},
    {"a_fence_that_expires_while_its_work_runs_is_judged_by_the_context",
     a_fence_that_expires_while_its_work_runs_is_judged_by_the_context, 0},
    {"work_that_makes_progress_is_not_hung", work_that_makes_progress_is_not_hung, 0},
    {"other_devices_run_on_while_a_worker_stands_still", other_devices_run_on_while_a_worker_stands_still, 0},
};

int main(int argc, char** argv) { return RUN_CASES(argc, argv, cases); }
