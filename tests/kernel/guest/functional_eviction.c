// Who is owed device memory gets it from who has too much, through the worker and within a bounded time; when it comes
// to nothing, nothing has changed.
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "support/client_queue.h"
#include "support/device.h"
#include "support/process.h"
#include "support/tap.h"
#include "support/worker_queue.h"

static const uint64_t page = 4096;
static const uint64_t mebibyte = 1 << 20;
enum { rich = 1001, poor = 1002, pieces = 7, usual_patience = 1000 };

// Eight pieces of memory: a rich user holds seven of them, through a file that the test uses for them.
struct Scene {
  struct Device d;
  int sockets[2];
  int rich_drm, poor_drm;
  uint32_t context, poor_context;
  uint32_t handles[pieces];
  uint32_t numbers[pieces];  // as the worker names them
};

// A file of that user's: who opens it pays.
static int open_as(struct Scene* s, uid_t uid) {
  const pid_t child = fork();
  if (child == 0) {
    REQUIRE_OK(setresuid(uid, uid, uid));
    REQUIRE_OK(send_fd(s->sockets[1], device_open(&s->d)));
    _exit(0);
  }
  const int fd = REQUIRE_FD(receive_fd(s->sockets[0]));
  CHECK_OK(wait_child(child, 20));
  return fd;
}

static uint32_t number_of(struct Scene* s, int drm, uint32_t handle) {
  struct mlaccel_bo_look look;
  int dmabuf;
  REQUIRE_OK(prime_export(drm, handle, &dmabuf));
  REQUIRE_OK(bo_look(s->d.worker, dmabuf, &look));
  close(dmabuf);
  return look.bo;
}

static void set_scene(struct Scene* s, unsigned patience_ms) {
  set_module_parameter("evict_timeout_ms", patience_ms);
  device_add(&s->d, -1, &(struct DeviceOptions){.memory_bytes = 8 * mebibyte});
  socket_pair(s->sockets);
  s->rich_drm = open_as(s, rich);
  s->poor_drm = open_as(s, poor);
  REQUIRE_OK(new_context(s->rich_drm, &s->context));
  REQUIRE_OK(new_context(s->poor_drm, &s->poor_context));
  for (int i = 0; i < pieces; i++) {
    REQUIRE_OK(device_bo(s->rich_drm, s->context, mebibyte, 0, &s->handles[i]));
    s->numbers[i] = number_of(s, s->rich_drm, s->handles[i]);
  }
}

static struct drm_mlaccel_dev_query query(int drm) {
  struct drm_mlaccel_dev_query q = {.flags = 0};
  REQUIRE_OK(dev_query(drm, &q));
  return q;
}

static uint64_t charged(int drm, uint32_t context) {
  struct drm_mlaccel_ctx_state s;
  REQUIRE_OK(ctx_state(drm, context, &s));
  return s.memory_bytes;
}

static struct drm_mlaccel_bo_info info_of(int drm, uint32_t handle) {
  struct drm_mlaccel_bo_info info;
  REQUIRE_OK(bo_info(drm, handle, &info));
  return info;
}

// An allocation of the poor user's, in a thread: it may have to wait.
struct Ask {
  int drm, result;
  uint32_t context, handle;
  uint64_t size, started, ended;
  bool done;
};

static void* ask(void* argument) {
  struct Ask* a = argument;
  a->started = now_ns();
  a->result = device_bo(a->drm, a->context, a->size, 0, &a->handle);
  a->ended = now_ns();
  __atomic_store_n(&a->done, true, __ATOMIC_SEQ_CST);
  return NULL;
}

static bool done(const struct Ask* a) { return __atomic_load_n(&a->done, __ATOMIC_SEQ_CST); }

static struct Ask asking(const struct Scene* s, uint64_t size) {
  return (struct Ask){.drm = s->poor_drm, .context = s->poor_context, .size = size};
}

// What has to be the same behind an allocation that came to nothing.
static void check_nothing_changed(const struct Scene* s) {
  CHECK_EQ(query(s->poor_drm).user_device_bytes, 0);
  CHECK_EQ(query(s->poor_drm).user_host_bytes, 0);
  CHECK_EQ(query(s->rich_drm).user_device_bytes, pieces * mebibyte);
  CHECK_EQ(query(s->rich_drm).user_host_bytes, 0);
  CHECK_EQ(query(s->rich_drm).memory_used, pieces * mebibyte);
  CHECK_EQ(charged(s->rich_drm, s->context), pieces * mebibyte);
  CHECK_EQ(charged(s->poor_drm, s->poor_context), 0);
  for (int i = 0; i < pieces; i++) CHECK_EQ(info_of(s->rich_drm, s->handles[i]).state, MLACCEL_BO_RESIDENT);
}

static void the_worker_is_asked_and_the_owed_user_is_served(void) {
  struct Scene s;
  struct mlaccel_event event;
  set_scene(&s, usual_patience);
  struct Ask a = asking(&s, 3 * mebibyte);
  const uint64_t address = info_of(s.rich_drm, s.handles[2]).address;
  pthread_t thread = start_thread(ask, &a);
  REQUIRE(await_event(s.d.worker, &event, 20));
  CHECK_EQ(event.bits, MLACCEL_EVENT_FREE);
  CHECK_EQ(event.queue, 0);
  CHECK_EQ(event.pad, 0);
  CHECK_EQ(event.uid, rich);
  // One MiB is free already; how much to ask for in all is the kernel's choice.
  CHECK_AS(event.bytes, >=, 2 * mebibyte);
  CHECK_AS(event.bytes, <=, 3 * mebibyte);
  CHECK_AS(event.deadline_ns, >, a.started);
  CHECK_AS(event.deadline_ns, <=, now_ns() + module_parameter("evict_timeout_ms") * 1000000);
  // Two neighbours and the free one, wherever that is: evict until it fits.
  unsigned evicted = 0;
  for (int i = pieces - 1; i >= 0 && evicted < 3; i--, evicted++) CHECK_OK(bo_evict(s.d.worker, s.numbers[i]));
  // It may have seen the room before this.
  const int answered = freed(s.d.worker, event.request);
  CHECK(answered == 0 || answered == -ENOENT);
  pthread_join(thread, NULL);
  CHECK_OK(a.result);
  CHECK_ERR(freed(s.d.worker, event.request), ENOENT);

  CHECK_EQ(query(s.poor_drm).user_device_bytes, 3 * mebibyte);
  CHECK_EQ(query(s.rich_drm).user_device_bytes, (pieces - evicted) * mebibyte);
  CHECK_EQ(query(s.rich_drm).user_host_bytes, evicted * mebibyte);
  CHECK_EQ(charged(s.rich_drm, s.context), (pieces - evicted) * mebibyte);
  CHECK_EQ(info_of(s.rich_drm, s.handles[pieces - 1]).state, MLACCEL_BO_EVICTED);
  CHECK_EQ(info_of(s.rich_drm, s.handles[2]).address, address);
  device_remove(&s.d);
}

static void memory_comes_back_at_its_address(void) {
  struct Scene s;
  uint64_t offset = 0;
  uint32_t filler;
  set_scene(&s, usual_patience);
  const struct drm_mlaccel_bo_info before = info_of(s.rich_drm, s.handles[0]);
  CHECK_ERR(bo_restore(s.d.worker, s.numbers[0], &offset), EALREADY);
  CHECK_OK(bo_evict(s.d.worker, s.numbers[0]));
  CHECK_ERR(bo_evict(s.d.worker, s.numbers[0]), EALREADY);
  CHECK_EQ(info_of(s.rich_drm, s.handles[0]).state, MLACCEL_BO_EVICTED);
  CHECK_EQ(info_of(s.rich_drm, s.handles[0]).pool_offset, 0);
  CHECK_EQ(query(s.rich_drm).user_host_bytes, mebibyte);
  // Its place is taken meanwhile, so it comes back somewhere else.
  REQUIRE_OK(device_bo(s.poor_drm, s.poor_context, mebibyte, 0, &filler));
  const bool taken = info_of(s.poor_drm, filler).pool_offset == before.pool_offset;
  CHECK_OK(bo_restore(s.d.worker, s.numbers[0], &offset));
  const struct drm_mlaccel_bo_info after = info_of(s.rich_drm, s.handles[0]);
  CHECK_EQ(after.state, MLACCEL_BO_RESIDENT);
  CHECK_EQ(after.address, before.address);
  CHECK_EQ(after.pool_offset, offset);
  CHECK(!taken || offset != before.pool_offset);
  CHECK_EQ(query(s.rich_drm).user_host_bytes, 0);
  CHECK_EQ(query(s.rich_drm).user_device_bytes, pieces * mebibyte);
  // Now it is full: what is evicted stays out while somebody is in its place.
  CHECK_OK(bo_evict(s.d.worker, s.numbers[1]));
  REQUIRE_OK(device_bo(s.poor_drm, s.poor_context, mebibyte, 0, &filler));
  CHECK_ERR(bo_restore(s.d.worker, s.numbers[1], &offset), ENOSPC);
  CHECK_EQ(info_of(s.rich_drm, s.handles[1]).state, MLACCEL_BO_EVICTED);
  CHECK_EQ(query(s.rich_drm).user_host_bytes, mebibyte);
  CHECK_EQ(query(s.rich_drm).user_device_bytes, (pieces - 1) * mebibyte);
  CHECK_OK(gem_close(s.rich_drm, s.handles[1]));
  CHECK_EQ(query(s.rich_drm).user_host_bytes, 0);
  CHECK_ERR(bo_restore(s.d.worker, s.numbers[1], &offset), ENOENT);
  CHECK_ERR(bo_evict(s.d.worker, s.numbers[1]), ENOENT);
  device_remove(&s.d);
}

static void at_the_deadline_it_fails_and_nothing_has_changed(void) {
  struct Scene s;
  struct mlaccel_event event;
  set_scene(&s, usual_patience);
  const uint64_t patience = module_parameter("evict_timeout_ms") * 1000000;
  struct Ask a = asking(&s, 2 * mebibyte);
  pthread_t thread = start_thread(ask, &a);
  REQUIRE(await_event(s.d.worker, &event, 20));
  pthread_join(thread, NULL);
  CHECK_ERR(a.result, ENOSPC);
  CHECK_AS(a.ended, >=, event.deadline_ns);
  CHECK_AS(a.ended - a.started, >=, patience);
  CHECK_AS(a.ended - a.started, <, patience + SECONDS(5));
  CHECK_ERR(freed(s.d.worker, event.request), ENOENT);
  check_nothing_changed(&s);
  device_remove(&s.d);
}

static void an_answer_without_memory_ends_the_wait(void) {
  struct Scene s;
  struct mlaccel_event event;
  set_scene(&s, 60000);
  struct Ask a = asking(&s, 2 * mebibyte);
  pthread_t thread = start_thread(ask, &a);
  REQUIRE(await_event(s.d.worker, &event, 20));
  CHECK_ERR(freed(s.d.worker, event.request + 1), ENOENT);
  CHECK(!done(&a));
  CHECK_OK(freed(s.d.worker, event.request));
  CHECK(EVENTUALLY(done(&a)));
  pthread_join(thread, NULL);
  CHECK_ERR(a.result, ENOSPC);
  check_nothing_changed(&s);
  device_remove(&s.d);
}

static void room_that_comes_by_itself_is_taken(void) {
  struct Scene s;
  struct mlaccel_event event;
  set_scene(&s, 60000);
  struct Ask a = asking(&s, mebibyte);
  uint32_t filler;
  REQUIRE_OK(device_bo(s.rich_drm, s.context, mebibyte, 0, &filler));
  pthread_t thread = start_thread(ask, &a);
  REQUIRE(await_event(s.d.worker, &event, 20));
  CHECK_OK(gem_close(s.rich_drm, filler));
  CHECK(EVENTUALLY(done(&a)));
  pthread_join(thread, NULL);
  CHECK_OK(a.result);
  device_remove(&s.d);
}

// poll() says that there is something to read only when there is: a worker may read behind it without O_NONBLOCK.
static void a_request_is_told_once(void) {
  struct Scene s;
  struct mlaccel_event event;
  set_scene(&s, 60000);
  struct Ask a = asking(&s, 4 * mebibyte);
  pthread_t thread = start_thread(ask, &a);
  REQUIRE(await_event(s.d.worker, &event, 20));
  struct pollfd wait = {.fd = s.d.worker, .events = POLLIN};
  CHECK_EQ(poll(&wait, 1, 0), 0);
  // Some room, not enough: the allocation looks and goes on waiting, and the worker has heard of it already.
  for (int i = 0; i < 2; i++) {
    CHECK_OK(bo_evict(s.d.worker, s.numbers[i]));
    CHECK_OK(gem_close(s.rich_drm, s.handles[i]));
  }
  const uint64_t until = now_ns() + MILLISECONDS(200);
  while (now_ns() < until && CHECK_EQ(poll(&wait, 1, 10), 0)) continue;
  CHECK(!done(&a));
  CHECK_OK(freed(s.d.worker, event.request));
  pthread_join(thread, NULL);
  CHECK_EQ(poll(&wait, 1, 0), 0);
  device_remove(&s.d);
}

static void a_request_that_expired_is_not_told(void) {
  struct Scene s;
  set_scene(&s, 20);
  struct Ask a = asking(&s, 2 * mebibyte);
  pthread_t thread = start_thread(ask, &a);
  pthread_join(thread, NULL);
  CHECK_ERR(a.result, ENOSPC);
  struct pollfd wait = {.fd = s.d.worker, .events = POLLIN};
  CHECK_EQ(poll(&wait, 1, 0), 0);
  device_remove(&s.d);
}

// A user can't keep device memory that others are owed by filling their host limit; nor grow by being evicted.
static void a_full_host_limit_keeps_nothing_from_being_evicted(void) {
  struct Scene s;
  uint32_t handle;
  set_scene(&s, usual_patience);
  REQUIRE_OK(set_limit(s.d.control, 0, rich, mebibyte + page));
  CHECK_OK(bo_evict(s.d.worker, s.numbers[0]));
  CHECK_OK(bo_evict(s.d.worker, s.numbers[1]));
  CHECK_EQ(query(s.rich_drm).user_host_bytes, 2 * mebibyte);
  CHECK_EQ(query(s.rich_drm).user_device_bytes, (pieces - 2) * mebibyte);
  CHECK_ERR(device_bo(s.rich_drm, s.context, page, 0, &handle), EDQUOT);
  CHECK_ERR(host_bo(s.rich_drm, page, &handle), EDQUOT);
  CHECK_OK(device_bo(s.poor_drm, s.poor_context, page, 0, &handle));
  CHECK_OK(gem_close(s.rich_drm, s.handles[1]));
  CHECK_OK(device_bo(s.rich_drm, s.context, page, 0, &handle));
  CHECK_OK(gem_close(s.rich_drm, handle));
  // Nor does it come back where the user's device limit has shrunk.
  REQUIRE_OK(set_limit(s.d.control, s.d.number, rich, page));
  CHECK_ERR(bo_restore(s.d.worker, s.numbers[0], NULL), EDQUOT);
  CHECK_EQ(info_of(s.rich_drm, s.handles[0]).state, MLACCEL_BO_EVICTED);
  CHECK_EQ(query(s.rich_drm).user_host_bytes, mebibyte);
  device_remove(&s.d);
}

// Above the limit of all users (20 MiB here, or 30) nothing is evicted for anybody; what is free is there to be had.
static void evictions_end_at_the_limit_of_all_users(void) {
  struct Scene s;
  uint32_t evicted, handle;
  struct mlaccel_event event;
  const uint64_t percent = module_parameter("host_total_percent");
  set_module_parameter("evict_timeout_ms", 60000);
  device_add(&s.d, -1, &(struct DeviceOptions){.memory_bytes = 48 * mebibyte});
  socket_pair(s.sockets);
  set_module_parameter("host_total_percent", 1);
  s.rich_drm = open_as(&s, rich);
  s.poor_drm = open_as(&s, poor);
  REQUIRE_OK(new_context(s.rich_drm, &s.context));
  REQUIRE_OK(new_context(s.poor_drm, &s.poor_context));
  REQUIRE_OK(device_bo(s.rich_drm, s.context, 40 * mebibyte, 0, &evicted));
  CHECK_OK(bo_evict(s.d.worker, number_of(&s, s.rich_drm, evicted)));
  CHECK(query(s.rich_drm).user_host_bytes < query(s.rich_drm).user_host_limit);

  CHECK_ERR(host_bo(s.poor_drm, page, &handle), EDQUOT);
  CHECK_OK(device_bo(s.poor_drm, s.poor_context, page, 0, &handle));
  CHECK_OK(device_bo(s.rich_drm, s.context, 40 * mebibyte, 0, &handle));
  struct Ask a = asking(&s, 16 * mebibyte);
  ask(&a);
  CHECK_ERR(a.result, ENOSPC);
  CHECK_AS(a.ended - a.started, <, SECONDS(30));

  CHECK_OK(gem_close(s.rich_drm, evicted));
  pthread_t thread = start_thread(ask, &a);
  REQUIRE(await_event(s.d.worker, &event, 20));
  CHECK_EQ(event.uid, rich);
  CHECK_OK(freed(s.d.worker, event.request));
  pthread_join(thread, NULL);
  set_module_parameter("host_total_percent", percent);
  device_remove(&s.d);
}

static void nobody_is_asked_for_who_has_enough(void) {
  struct Scene s;
  uint32_t handle;
  struct mlaccel_event events[2];
  set_scene(&s, usual_patience);
  // The rich one, who holds more than an equal part; and the poor one, who wants more than that.
  REQUIRE_OK(device_bo(s.poor_drm, s.poor_context, mebibyte / 2, 0, &handle));
  CHECK_ERR(device_bo(s.rich_drm, s.context, mebibyte, 0, &handle), ENOSPC);
  CHECK_ERR(device_bo(s.poor_drm, s.poor_context, 5 * mebibyte, 0, &handle), ENOSPC);
  CHECK_ERR(next_events(s.d.worker, events, 2), EAGAIN);
  // Nor by a worker who says that it won't wait for itself.
  struct ClientQueue q;
  struct WorkerQueue w;
  REQUIRE_OK(client_queue_try_open(&q, s.poor_drm, s.poor_context, 4, -1));
  worker_queue_map(&w, s.d.worker, s.d.generation, q.fd);
  struct mlaccel_bo_create_for c = {.queue = w.number, .size = mebibyte, .flags = MLACCEL_BO_NOWAIT};
  CHECK_ERR(bo_create_for(s.d.worker, &c), ENOSPC);
  CHECK_ERR(next_events(s.d.worker, events, 2), EAGAIN);
  device_remove(&s.d);
}

static void keep_a_cpu(void* argument) {
  (void)argument;
  const struct sched_param first = {.sched_priority = 1};
  pin_to_cpu(1);
  REQUIRE_OK(sched_setscheduler(0, SCHED_FIFO, &first));
  for (;;) continue;
}

static void ask_from_a_cpu(void* argument) {
  const struct Scene* s = argument;
  struct Ask a = asking(s, 2 * mebibyte);
  pin_to_cpu(1);
  ask(&a);
  CHECK_ERR(a.result, ENODEV);
}

// Who asked gets no turn to withdraw it before the next worker looks.
static void a_request_ends_with_the_worker_that_was_asked(void) {
  static const char* const throttle = "/proc/sys/kernel/sched_rt_runtime_us";
  struct Scene s;
  set_scene(&s, 60000);
  struct pollfd wait = {.fd = s.d.worker, .events = POLLIN};
  pin_to_cpu(0);
  const pid_t asker = fork_child(ask_from_a_cpu, &s);
  REQUIRE(poll(&wait, 1, 20000) == 1);
  REQUIRE_OK(write_text(throttle, "-1"));
  const pid_t hog = fork_child(keep_a_cpu, NULL);
  pause_ns(MILLISECONDS(200));
  device_recover(&s.d);
  wait.fd = s.d.worker;
  CHECK_EQ(poll(&wait, 1, 0), 0);
  kill(hog, SIGKILL);
  CHECK_EQ(wait_child(hog, 20), 128 + SIGKILL);
  CHECK_OK(write_text(throttle, "950000"));
  CHECK_OK(wait_child(asker, 20));
  device_remove(&s.d);
}

static void on_signal(int signal) { (void)signal; }

static void ask_until_killed(void* argument) {
  const struct Scene* s = argument;
  struct Ask a = asking(s, 2 * mebibyte);
  ask(&a);
  note("an allocation that nobody answered came back: %d", a.result);
}

static void a_waiting_allocation_is_killed(void) {
  struct Scene s;
  struct mlaccel_event event;
  set_scene(&s, 60000);
  const pid_t child = fork_child(ask_until_killed, &s);
  REQUIRE(await_event(s.d.worker, &event, 20));
  kill(child, SIGKILL);
  CHECK_EQ(wait_child(child, 20), 128 + SIGKILL);
  CHECK_ERR(freed(s.d.worker, event.request), ENOENT);
  check_nothing_changed(&s);
  device_remove(&s.d);
}

// Whether it waits on or is started anew, with a request of its own, is the kernel's choice.
static void a_waiting_allocation_goes_on_behind_signals(void) {
  struct Scene s;
  struct mlaccel_event event, newer;
  set_scene(&s, 60000);
  const struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
  REQUIRE_OK(sigaction(SIGUSR1, &action, NULL));
  struct Ask a = asking(&s, 2 * mebibyte);
  pthread_t thread = start_thread(ask, &a);
  REQUIRE(await_event(s.d.worker, &event, 20));
  struct pollfd wait = {.fd = s.d.worker, .events = POLLIN};
  for (int i = 0; i < 5; i++) {
    pthread_kill(thread, SIGUSR1);
    while (poll(&wait, 1, 50) > 0 && next_events(s.d.worker, &newer, 1) == 1) event = newer;
  }
  CHECK(!done(&a));
  for (int i = 0; i < pieces; i++) CHECK_OK(bo_evict(s.d.worker, s.numbers[i]));
  const int answered = freed(s.d.worker, event.request);
  CHECK(answered == 0 || answered == -ENOENT);
  CHECK(EVENTUALLY(done(&a)));
  pthread_join(thread, NULL);
  CHECK_OK(a.result);
  CHECK_EQ(query(s.poor_drm).user_device_bytes, 2 * mebibyte);
  device_remove(&s.d);
}

static void a_waiting_allocation_ends_with_the_worker(void) {
  struct Scene s;
  struct mlaccel_event event;
  set_scene(&s, 60000);
  struct Ask a = asking(&s, 2 * mebibyte);
  pthread_t thread = start_thread(ask, &a);
  REQUIRE(await_event(s.d.worker, &event, 20));
  CHECK_OK(dev_stop(s.d.control, s.d.number));
  CHECK(EVENTUALLY(done(&a)));
  pthread_join(thread, NULL);
  CHECK_ERR(a.result, ENODEV);
  CHECK_EQ(query(s.poor_drm).user_device_bytes, 0);
  device_remove(&s.d);
}

// Both of them ask for all that is theirs, again and again, and a worker evicts what it likes: sums stay right.
struct Contest {
  int drm;
  uint32_t context;
  uint64_t rounds, served, refused;
};

static void* contest(void* argument) {
  struct Contest* c = argument;
  uint32_t handles[4];
  for (uint64_t round = 0; round < c->rounds; round++) {
    unsigned count = 0;
    while (count < 4) {
      const int result = device_bo(c->drm, c->context, mebibyte, 0, &handles[count]);
      if (result != 0) {
        CHECK_ERR(result, ENOSPC);
        c->refused++;
        break;
      }
      count++;
      c->served++;
    }
    while (count > 0) CHECK_OK(gem_close(c->drm, handles[--count]));
  }
  return NULL;
}

static void evict_for(struct FakeWorker* w, const struct mlaccel_event* event) {
  struct Scene* s = w->context;
  for (int i = 0; i < pieces; i++) {
    const int result = bo_evict(w->worker, s->numbers[i]);
    CHECK(result == 0 || result == -EALREADY);
  }
  const int result = freed(w->worker, event->request);
  CHECK(result == 0 || result == -ENOENT);
  // Back as far as there is room, so that the next one is owed again.
  for (int i = 0; i < pieces; i++) {
    const int restored = bo_restore(w->worker, s->numbers[i], NULL);
    CHECK(restored == 0 || restored == -ENOSPC || restored == -EALREADY);
  }
}

static void eviction_under_load_adds_up(void) {
  struct Scene s;
  set_scene(&s, usual_patience);
  struct FakeWorker worker = {.on_free = evict_for, .context = &s};
  fake_worker_start(&worker, s.d.worker, s.d.generation);
  struct Contest contests[3];
  pthread_t threads[3];
  for (int i = 0; i < 3; i++) {
    const int drm = i == 0 ? s.poor_drm : open_as(&s, (uid_t)(poor + i));
    contests[i] = (struct Contest){.drm = drm, .rounds = test_rounds_within(200, 2000)};
    REQUIRE_OK(new_context(drm, &contests[i].context));
  }
  for (int i = 0; i < 3; i++) threads[i] = start_thread(contest, &contests[i]);
  for (int i = 0; i < 3; i++) {
    pthread_join(threads[i], NULL);
    note("served %ju, refused %ju", (uintmax_t)contests[i].served, (uintmax_t)contests[i].refused);
  }
  fake_worker_stop(&worker);
  uint64_t resident = 0;
  for (int i = 0; i < pieces; i++) resident += info_of(s.rich_drm, s.handles[i]).state == MLACCEL_BO_RESIDENT;
  CHECK_EQ(query(s.rich_drm).memory_used, resident * mebibyte);
  CHECK_EQ(query(s.rich_drm).user_device_bytes, resident * mebibyte);
  CHECK_EQ(query(s.rich_drm).user_host_bytes, (pieces - resident) * mebibyte);
  device_remove(&s.d);
}

static const struct Case cases[] = {
    {"the_worker_is_asked_and_the_owed_user_is_served", the_worker_is_asked_and_the_owed_user_is_served, 0},
    {"memory_comes_back_at_its_address", memory_comes_back_at_its_address, 0},
    {"at_the_deadline_it_fails_and_nothing_has_changed", at_the_deadline_it_fails_and_nothing_has_changed, 0},
    {"an_answer_without_memory_ends_the_wait", an_answer_without_memory_ends_the_wait, 0},
    {"room_that_comes_by_itself_is_taken", room_that_comes_by_itself_is_taken, 0},
    {"a_request_is_told_once", a_request_is_told_once, 0},
    {"a_request_that_expired_is_not_told", a_request_that_expired_is_not_told, 0},
    {"a_full_host_limit_keeps_nothing_from_being_evicted", a_full_host_limit_keeps_nothing_from_being_evicted, 0},
    {"evictions_end_at_the_limit_of_all_users", evictions_end_at_the_limit_of_all_users, 0},
    {"a_request_ends_with_the_worker_that_was_asked", a_request_ends_with_the_worker_that_was_asked, 0},
    {"nobody_is_asked_for_who_has_enough", nobody_is_asked_for_who_has_enough, 0},
    {"a_waiting_allocation_is_killed", a_waiting_allocation_is_killed, 0},
    {"a_waiting_allocation_goes_on_behind_signals", a_waiting_allocation_goes_on_behind_signals, 0},
    {"a_waiting_allocation_ends_with_the_worker", a_waiting_allocation_ends_with_the_worker, 0},
    {"eviction_under_load_adds_up", eviction_under_load_adds_up, 0},
};

int main(int argc, char** argv) {
  const int result = RUN_CASES(argc, argv, cases);
  // As the next program expects it, however a case ended.
  write_text("/sys/module/mlaccel/parameters/evict_timeout_ms", "1000");
  return result;
}
