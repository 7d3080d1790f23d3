// Storms of signals: what sleeps goes on or says EINTR, what is repeated has the same effect, and deadlines hold.
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "support/client_queue.h"
#include "support/device.h"
#include "support/faults.h"
#include "support/process.h"
#include "support/storm.h"
#include "support/tap.h"
#include "support/worker_queue.h"

static const size_t mebibyte = 1 << 20;
static const uint64_t often = MILLISECONDS(1);

// Each case in both ways: the kernel repeats the call, or the program does.
struct Weather {
  struct Storm storm;
  bool restart;
  uint64_t interrupted;
};

static void begin(struct Weather* w, int way) {
  w->restart = way == 1;
  w->interrupted = 0;
  storm_start(&w->storm, often, w->restart);
}

static void end(struct Weather* w, const char* what, bool sleeps) {
  const uint64_t signals = storm_stop(&w->storm);
  note("%s: %ju signals, %ju times EINTR", what, (uintmax_t)signals, (uintmax_t)w->interrupted);
  if (sleeps) CHECK_AS(signals, >, 0);
  if (w->restart) CHECK_EQ(w->interrupted, 0);
}

static void absolute_deadlines_of_a_wait_hold(void) {
  struct Device d;
  struct ClientQueue q;
  device_setup(&d);
  client_queue_open(&q, device_open(&d), 8);
  for (int way = 0; way < 2; way++) {
    struct Weather w;
    const uint64_t deadline = now_ns() + MILLISECONDS(300);
    begin(&w, way);
    const int result = UNINTERRUPTED(wait_sequence(q.drm, q.number, MLRING_START, deadline, NULL), &w.interrupted);
    const uint64_t now = now_ns();
    end(&w, "WAIT", true);
    CHECK_ERR(result, ETIME);
    CHECK_AS(now, >=, deadline);
    // As late as the machine is slow, not later by each interruption.
    CHECK_AS(now, <, deadline + SECONDS(5));
    if (way == 0) CHECK_AS(w.interrupted, >, 0);
  }
  device_remove(&d);
}

struct Later {
  struct WorkerQueue* queue;
  int worker;
  uint64_t after_ns;
};

static void* complete_later(void* argument) {
  const struct Later* l = argument;
  pause_ns(l->after_ns);
  CHECK_AS(serve(l->queue), >=, 0);
  CHECK_OK(complete_queue(l->queue, 0));
  return NULL;
}

static void a_wait_ends_with_its_work(void) {
  struct Device d;
  struct ClientQueue q;
  struct WorkerQueue at_worker;
  device_setup(&d);
  client_queue_open(&q, device_open(&d), 8);
  worker_queue_map(&at_worker, d.worker, d.generation, q.fd);
  for (int way = 0; way < 2; way++) {
    for (int i = 0; i < 20; i++) {
      struct Weather w;
      struct Later later = {.queue = &at_worker, .after_ns = MILLISECONDS(10)};
      const uint64_t last = submit_nops(&q, 3);
      const pthread_t thread = start_thread(complete_later, &later);
      storm_start(&w.storm, often, way == 1);
      w.interrupted = 0;
      CHECK_OK(UNINTERRUPTED(ring(&q), &w.interrupted));
      CHECK_OK(UNINTERRUPTED(wait_sequence(q.drm, q.number, last, UINT64_MAX, NULL), &w.interrupted));
      storm_stop(&w.storm);
      if (way == 1) CHECK_EQ(w.interrupted, 0);
      pthread_join(thread, NULL);
      CHECK_EQ(notify_at(&q), MLRING_NEVER);
      CHECK_EQ(read_all_completions(&q), 3);
    }
  }
  device_remove(&d);
}

// ---- memory that somebody else has

struct Debtor {
  struct Device device;
  int drm;
  uint32_t context, memory;
  uint32_t number;  // as the worker knows it
};

// Another user has more than their part.
static void debtor_make(struct Debtor* b) {
  struct mlaccel_bo_look look;
  int fd = -1;
  device_setup(&b->device);
  b->drm = device_open(&b->device);
  REQUIRE_OK(new_context(b->drm, &b->context));
  REQUIRE_OK(device_bo(b->drm, b->context, 48 * mebibyte, 0, &b->memory));
  REQUIRE_OK(prime_export(b->drm, b->memory, &fd));
  REQUIRE_OK(bo_look(b->device.worker, fd, &look));
  b->number = look.bo;
  close(fd);
}

struct Asking {
  struct Debtor* debtor;
  int way;
  int wanted;
};

static void ask_in_a_storm(void* argument) {
  const struct Asking* a = argument;
  struct Weather w;
  uint32_t context, handle;
  const int drm = device_open(&a->debtor->device);
  REQUIRE_OK(new_context(drm, &context));
  begin(&w, a->way);
  const int result = UNINTERRUPTED(device_bo(drm, context, 24 * mebibyte, 0, &handle), &w.interrupted);
  end(&w, "BO_CREATE", true);
  CHECK_EQ(result, a->wanted);
  if (result == 0) CHECK_OK(gem_close(drm, handle));
}

static void memory_that_nobody_gives_back_is_waited_for_no_longer_than_that(void) {
  struct Debtor b;
  debtor_make(&b);
  for (int way = 0; way < 2; way++) {
    struct Asking asking = {.debtor = &b, .way = way, .wanted = -ENOSPC};
    const uint64_t before = now_ns();
    const pid_t pid = fork_as(4711, ask_in_a_storm, &asking);
    // The worker hears of it and does nothing.
    CHECK_EQ(wait_child(pid, 60), 0);
    CHECK_AS(now_ns() - before, <, SECONDS(20));
    struct mlaccel_event events[16];
    (void)next_events(b.device.worker, events, 16);
  }
  CHECK_EQ(memory_used(&b.device), 48 * mebibyte);
  device_remove(&b.device);
}

static void memory_is_given_back_once_for_one_request(void) {
  const uint64_t usual = module_parameter("evict_timeout_ms");
  struct Debtor b;
  debtor_make(&b);
  set_module_parameter("evict_timeout_ms", 30000);
  for (int way = 0; way < 2; way++) {
    struct Asking asking = {.debtor = &b, .way = way, .wanted = 0};
    struct mlaccel_event event;
    const pid_t pid = fork_as(4711, ask_in_a_storm, &asking);
    REQUIRE(await_event(b.device.worker, &event, 30));
    CHECK_EQ(event.bits, MLACCEL_EVENT_FREE);
    // Some time in the storm passes first.
    pause_ns(MILLISECONDS(50));
    CHECK_OK(bo_evict(b.device.worker, b.number));
    const int answered = freed(b.device.worker, event.request);
    CHECK(answered == 0 || answered == -ENOENT);
    CHECK_EQ(wait_child(pid, 60), 0);
    CHECK_OK(bo_restore(b.device.worker, b.number, NULL));
  }
  set_module_parameter("evict_timeout_ms", usual);
  device_remove(&b.device);
}

// ---- a worker's read

struct Reader {
  int worker;
  int way;
  unsigned wanted;
  pid_t thread;
  uint64_t interrupted;
};

static void* read_in_a_storm(void* argument) {
  struct Reader* r = argument;
  struct Storm storm;
  unsigned told = 0;
  storm_start(&storm, often, r->way == 1);
  __atomic_store_n(&r->thread, gettid(), __ATOMIC_SEQ_CST);
  while (told < r->wanted) {
    struct mlaccel_event event;
    const ssize_t got = read(r->worker, &event, sizeof event);
    if (got < 0) {
      CHECK_EQ(errno, EINTR);
      r->interrupted++;
      continue;
    }
    CHECK_EQ(got, (ssize_t)sizeof event);
    CHECK_EQ(event.bits, MLACCEL_EVENT_DOORBELL);
    told++;
  }
  storm_stop(&storm);
  return NULL;
}

static void a_worker_reads_every_event_once(void) {
  enum { rings = 200 };
  for (int way = 0; way < 2; way++) {
    struct Device d;
    struct ClientQueue q;
    struct WorkerQueue w;
    device_setup(&d);
    client_queue_open(&q, device_open(&d), 8);
    worker_queue_map(&w, d.worker, d.generation, q.fd);
    struct Reader reader = {.worker = d.worker, .way = way, .wanted = rings};
    const pthread_t thread = start_thread(read_in_a_storm, &reader);
    for (int i = 0; i < rings; i++) {
      struct pollfd wait = {.fd = d.worker, .events = POLLIN};
      // The one before has been read: each ring is an event of its own.
      if (!CHECK(EVENTUALLY(poll(&wait, 1, 0) == 0))) break;
      CHECK_OK(ring(&q));
    }
    pthread_join(thread, NULL);
    note("%ju times EINTR", (uintmax_t)reader.interrupted);
    if (way == 1) CHECK_EQ(reader.interrupted, 0);
    struct mlaccel_event event;
    CHECK_ERR(next_events(d.worker, &event, 1), EAGAIN);
    device_remove(&d);
  }
}

// ---- everything else

static void making_and_dropping_is_whole_or_not_at_all(void) {
  const uint64_t rounds = test_rounds(60);
  struct Device d;
  device_setup(&d);
  const int drm = device_open(&d);
  for (int way = 0; way < 2; way++) {
    struct Weather w;
    w.restart = way == 1;
    w.interrupted = 0;
    storm_start(&w.storm, MILLISECONDS(1) / 2, way == 1);
    for (uint64_t i = 0; i < rounds && !case_failed(); i++) {
      struct drm_mlaccel_ctx_create context = {.priority = 0};
      struct drm_mlaccel_queue_create queue = {.depth = 1024, .wake_fd = -1};
      struct mlaccel_queue_map map = {.flags = 0};
      uint32_t host = 0, memory = 0, syncobj = 0;
      int dmabuf = -1;
      CHECK_OK(UNINTERRUPTED(ctx_create(drm, &context), &w.interrupted));
      queue.context = context.context;
      CHECK_OK(UNINTERRUPTED(queue_create(drm, &queue), &w.interrupted));
      CHECK_OK(UNINTERRUPTED(queue_map(d.worker, queue.fd, &map), &w.interrupted));
      CHECK_OK(UNINTERRUPTED(host_bo(drm, mebibyte, &host), &w.interrupted));
      CHECK_OK(UNINTERRUPTED(prime_export(drm, host, &dmabuf), &w.interrupted));
      CHECK_OK(UNINTERRUPTED(device_bo(drm, context.context, mebibyte, 0, &memory), &w.interrupted));
      CHECK_OK(UNINTERRUPTED(syncobj_create(drm, 0, &syncobj), &w.interrupted));
      CHECK_OK(UNINTERRUPTED(doorbell(drm, queue.queue), &w.interrupted));
      CHECK_OK(UNINTERRUPTED(queue_destroy(drm, queue.queue), &w.interrupted));
      CHECK_OK(UNINTERRUPTED(queue_unmap(d.worker, map.queue), &w.interrupted));
      CHECK_OK(UNINTERRUPTED(ctx_destroy(drm, context.context), &w.interrupted));
      CHECK_OK(UNINTERRUPTED(gem_close(drm, host), &w.interrupted));
      CHECK_OK(UNINTERRUPTED(gem_close(drm, memory), &w.interrupted));
      CHECK_OK(UNINTERRUPTED(syncobj_destroy(drm, syncobj), &w.interrupted));
      close(dmabuf);
      close(queue.fd);
    }
    end(&w, "all calls", true);
    struct drm_mlaccel_dev_query query = {.flags = 0};
    CHECK_OK(dev_query(drm, &query));
    CHECK_EQ(query.user_host_bytes, 0);
    CHECK_EQ(query.memory_used, 0);
  }
  device_remove(&d);
}

static void the_daemons_calls_are_whole_as_well(void) {
  for (int way = 0; way < 2; way++) {
    struct Weather w;
    struct mlaccel_features features = {.abi = 0};
    const int control = REQUIRE_FD(control_open());
    w.restart = way == 1;
    w.interrupted = 0;
    storm_start(&w.storm, MILLISECONDS(1) / 2, way == 1);
    for (unsigned i = 0; i < 15; i++) {
      struct mlaccel_dev_register r = {.name = "stormy", .backend = "fake", .memory_bytes = 1 << 20};
      struct mlaccel_dev_start s = {.fd = -1}, again = {.fd = -1};
      CHECK_OK(UNINTERRUPTED(get_features(control, &features), &w.interrupted));
      CHECK_OK(UNINTERRUPTED(dev_register(control, &r), &w.interrupted));
      s.device = again.device = r.device;
      CHECK_OK(UNINTERRUPTED(dev_start(control, &s), &w.interrupted));
      CHECK_OK(UNINTERRUPTED(dev_recover(control, &again), &w.interrupted));
      CHECK_EQ(again.generation, 2);
      CHECK_OK(UNINTERRUPTED(set_limit(control, r.device, 4711, 1 << 20), &w.interrupted));
      CHECK_OK(UNINTERRUPTED(dev_stop(control, r.device), &w.interrupted));
      CHECK_OK(UNINTERRUPTED(dev_unregister(control, r.device), &w.interrupted));
      close(s.fd);
      close(again.fd);
    }
    end(&w, "the control node", true);
    close(control);
  }
}

static const struct Case cases[] = {
    {"absolute_deadlines_of_a_wait_hold", absolute_deadlines_of_a_wait_hold, 0},
    {"a_wait_ends_with_its_work", a_wait_ends_with_its_work, 0},
    {"memory_that_nobody_gives_back_is_waited_for_no_longer_than_that",
     memory_that_nobody_gives_back_is_waited_for_no_longer_than_that, 0},
    {"memory_is_given_back_once_for_one_request", memory_is_given_back_once_for_one_request, 0},
    {"a_worker_reads_every_event_once", a_worker_reads_every_event_once, 0},
    {"making_and_dropping_is_whole_or_not_at_all", making_and_dropping_is_whole_or_not_at_all, 0},
    {"the_daemons_calls_are_whole_as_well", the_daemons_calls_are_whole_as_well, 0},
};

int main(int argc, char** argv) { return RUN_CASES(argc, argv, cases); }
