// Queues as their two ends and the kernel see them: indices and sequences on both sides of 2^32, waits, doorbells,
// wakes.
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "support/client_queue.h"
#include "support/device.h"
#include "support/process.h"
#include "support/tap.h"
#include "support/worker_queue.h"

static const uint64_t wrap = UINT64_C(1) << 32;

// A device with a client's queue and a worker's end of it, both driven by the test.
struct Scene {
  struct Device d;
  int drm;
  struct ClientQueue q;
  struct WorkerQueue w;
};

static void set_scene(struct Scene* s, uint32_t depth) {
  device_setup(&s->d);
  s->drm = device_open(&s->d);
  client_queue_open(&s->q, s->drm, depth);
  worker_queue_map(&s->w, s->d.worker, s->d.generation, s->q.fd);
}

// The worker's side of one step: takes what is there, completes it, and calls the kernel if somebody waits.
static void serve_all(struct Scene* s) { REQUIRE_AS(serve(&s->w), >=, 0); }

static int look(const struct Scene* s, uint64_t sequence) {
  return wait_sequence(s->drm, s->q.number, sequence, 0, NULL);
}

static void a_new_queue_says_what_it_should(void) {
  static const uint32_t depths[] = {MLRING_DEPTH_MIN, 8, 1024, MLRING_DEPTH_MAX};
  struct Device d;
  device_setup(&d);
  const int drm = device_open(&d);
  for (size_t i = 0; i < sizeof depths / sizeof *depths; i++) {
    struct ClientQueue q;
    client_queue_open(&q, drm, depths[i]);
    CHECK_EQ(q.submission->tail, MLRING_START);
    CHECK_EQ(q.submission->completion_head, MLRING_START);
    CHECK_EQ(q.submission->needs_wake, 0);
    CHECK_EQ(q.completion->completion_tail, MLRING_START);
    CHECK_EQ(q.completion->submission_head, MLRING_START);
    CHECK_EQ(q.completion->completed_sequence, MLRING_START);
    CHECK_EQ(q.completion->parked, 0);
    CHECK_EQ(q.completion->busy, 0);
    CHECK_EQ(queue_state(&q), MLRING_STATE_ACTIVE);
    CHECK_EQ(q.state->generation, d.generation);
    CHECK_EQ(notify_at(&q), MLRING_NEVER);
    // Every page is there, and zero but for those words.
    const uint64_t* words = (const uint64_t*)((const char*)q.submission + sizeof *q.submission);
    uint64_t sum = 0;
    for (uint64_t k = 0; k < (q.layout.submission_bytes - sizeof *q.submission) / 8; k++) sum |= words[k];
    words = (const uint64_t*)((const char*)q.completion + sizeof *q.completion);
    for (uint64_t k = 0; k < (q.layout.completion_bytes - sizeof *q.completion) / 8; k++) sum |= words[k];
    CHECK_EQ(sum, 0);
    client_queue_close(&q);
  }
  device_remove(&d);
}

static void a_worker_is_told_whose_queue_it_is(void) {
  struct Scene s;
  struct drm_mlaccel_dev_query query = {.flags = 0};
  struct mlaccel_queue_map again;
  set_scene(&s, 16);
  REQUIRE_OK(dev_query(s.drm, &query));
  CHECK_EQ(s.w.info.depth, 16);
  CHECK_EQ(s.w.info.priority, 0);
  CHECK_EQ(s.w.info.uid, getuid());
  CHECK_EQ(s.w.info.context, s.q.context);
  CHECK_EQ(s.w.info.pid, getpid());
  CHECK_EQ(s.w.info.client, query.client);
  CHECK_EQ(s.w.info.timeout_ns, module_parameter("context_timeout_ms") * 1000000);
  CHECK_ERR(queue_map(s.d.worker, s.q.fd, &again), EALREADY);
  CHECK_ERR(queue_map(s.d.worker, s.drm, &again), EBADF);
  CHECK_ERR(queue_map(s.d.worker, -1, &again), EBADF);
  worker_queue_unmap(&s.w);
  CHECK_ERR(queue_map(s.d.worker, s.q.fd, &again), ECANCELED);
  CHECK_EQ(queue_state(&s.q), MLRING_STATE_CLOSED);
  device_remove(&s.d);
}

// ---- across 2^32

static void sequences_go_on_where_indices_wrap(void) {
  struct Scene s;
  struct mlring_completion c;
  set_scene(&s, 8);
  const uint64_t end = wrap + 64;
  CHECK_EQ(s.q.next, MLRING_START);
  for (uint64_t sequence = s.q.next; sequence < end && !case_failed(); sequence++) {
    CHECK_ERR(look(&s, sequence), ETIME);
    CHECK_EQ(submit_nops(&s.q, 1), sequence);
    CHECK_OK(ring(&s.q));
    CHECK_ERR(look(&s, sequence), ETIME);
    serve_all(&s);
    uint64_t completed = 0;
    CHECK_OK(wait_sequence(s.drm, s.q.number, sequence, 0, &completed));
    CHECK_EQ(completed, sequence + 1);
    REQUIRE(read_completion(&s.q, &c));
    CHECK_EQ(c.user_data, sequence);
    CHECK_EQ(c.sequence, (uint32_t)sequence);
    CHECK_EQ(completed_sequence(&s.q), sequence + 1);
  }
  CHECK_AS(completed_sequence(&s.q), >, wrap);
  CHECK_EQ(queue_state(&s.q), MLRING_STATE_ACTIVE);
  // What 32 bits would take for the same, or for long ago, is neither.
  CHECK_ERR(look(&s, wrap + s.q.next), ETIME);
  CHECK_OK(look(&s, 0));
  CHECK_OK(look(&s, MLRING_START));
  struct drm_mlaccel_ctx_state state;
  CHECK_OK(ctx_state(s.drm, s.q.context, &state));
  CHECK_EQ(state.completed, end - MLRING_START);
  device_remove(&s.d);
}

static void full_rings_wrap(void) {
  struct Scene s;
  set_scene(&s, 16);
  // The first ring ends exactly where indices become 0, the others are shifted by 5 each.
  for (int round = 0; round < 200 && !case_failed(); round++) {
    const uint32_t count = round == 0 ? 16 : client_queue_room(&s.q);
    const uint64_t last = submit_nops(&s.q, count);
    CHECK_OK(ring(&s.q));
    CHECK_EQ(take_descriptors(&s.w, UINT32_MAX), count);
    CHECK_EQ(take_descriptors(&s.w, UINT32_MAX), 0);
    for (uint32_t left = count; left > 0;) {
      const uint32_t some = left < 5 ? left : 5;
      publish_completions(&s.w, some, 1);
      left -= some;
      CHECK_EQ(look(&s, last), left == 0 ? 0 : -ETIME);
    }
    CHECK_EQ(read_all_completions(&s.q), count);
  }
  CHECK_EQ(queue_state(&s.q), MLRING_STATE_ACTIVE);
  device_remove(&s.d);
}

struct Waiter {
  const struct ClientQueue* q;
  uint64_t sequence, deadline_ns, completed;
  int result;
  bool done;
};

static void* wait_in_thread(void* argument) {
  struct Waiter* w = argument;
  w->result = wait_sequence(w->q->drm, w->q->number, w->sequence, w->deadline_ns, &w->completed);
  __atomic_store_n(&w->done, true, __ATOMIC_SEQ_CST);
  return NULL;
}

static bool waiter_done(const struct Waiter* w) { return __atomic_load_n(&w->done, __ATOMIC_SEQ_CST); }

static void waiters_on_both_sides_of_the_wrap_wake_in_order(void) {
  enum { count = 24 };
  struct Scene s;
  struct Waiter waiters[count];
  pthread_t threads[count];
  set_scene(&s, 8);
  // Two in front of 2^32, on it, behind it, and so on; the farthest one starts first.
  for (int i = count - 1; i >= 0; i--) {
    waiters[i] =
        (struct Waiter){.q = &s.q, .sequence = MLRING_START + 2 * (uint64_t)i, .deadline_ns = now_ns() + SECONDS(60)};
    threads[i] = start_thread(wait_in_thread, &waiters[i]);
    REQUIRE(EVENTUALLY(notify_at(&s.q) == waiters[i].sequence));
  }
  for (int i = 0; i < count && !case_failed(); i++) {
    CHECK_EQ(notify_at(&s.q), waiters[i].sequence);
    for (int k = i; k < count; k++) CHECK(!waiter_done(&waiters[k]));
    // The one in front of it, which wakes nobody, and this one.
    submit_nops(&s.q, i == 0 ? 1 : 2);
    CHECK_OK(ring(&s.q));
    serve_all(&s);
    read_all_completions(&s.q);
    pthread_join(threads[i], NULL);
    CHECK_OK(waiters[i].result);
    CHECK_EQ(waiters[i].completed, waiters[i].sequence + 1);
  }
  CHECK_EQ(notify_at(&s.q), MLRING_NEVER);
  CHECK_AS(completed_sequence(&s.q), >, wrap);
  device_remove(&s.d);
}

static void fences_on_both_sides_of_the_wrap_signal_in_order(void) {
  enum { count = 40 };
  struct Scene s;
  uint32_t syncobj;
  uint64_t point = 0;
  set_scene(&s, 64);
  REQUIRE_OK(syncobj_create(s.drm, 0, &syncobj));
  const uint64_t last = submit_nops(&s.q, count);
  CHECK_OK(ring(&s.q));
  CHECK_AS(last, >, wrap);
  for (uint64_t i = 0; i < count; i++) CHECK_OK(arm_point(s.drm, s.q.number, MLRING_START + i, syncobj, i + 1));
  CHECK_ERR(arm_point(s.drm, s.q.number, last + 1, syncobj, count + 1), EAGAIN);
  CHECK_EQ(notify_at(&s.q), MLRING_START);
  CHECK_EQ(take_descriptors(&s.w, UINT32_MAX), count);
  for (uint64_t i = 0; i < count && !case_failed(); i++) {
    CHECK_OK(timeline_query(s.drm, syncobj, &point));
    CHECK_EQ(point, i);
    CHECK_ERR(timeline_wait(s.drm, syncobj, i + 1, 0, 0), ETIME);
    publish_completions(&s.w, 1, 1);
    CHECK_OK(notify_if_due(&s.w, MLRING_START + i, NULL));
    CHECK_OK(timeline_wait(s.drm, syncobj, i + 1, now_ns() + SECONDS(20), 0));
  }
  CHECK_EQ(notify_at(&s.q), MLRING_NEVER);
  device_remove(&s.d);
}

// ---- waits

static void a_wait_ends_at_its_deadline(void) {
  struct Scene s;
  uint64_t completed = 0;
  set_scene(&s, 8);
  submit_nops(&s.q, 2);
  uint64_t deadline = now_ns() + MILLISECONDS(50);
  CHECK_ERR(wait_sequence(s.drm, s.q.number, s.q.next - 1, deadline, NULL), ETIME);
  CHECK_AS(now_ns(), >=, deadline);
  CHECK_AS(now_ns(), <, deadline + SECONDS(5));
  CHECK_EQ(notify_at(&s.q), MLRING_NEVER);
  // One that has passed only looks: at what the worker has written, though nobody has called COMPLETE.
  CHECK_ERR(wait_sequence(s.drm, s.q.number, s.q.next - 1, now_ns(), NULL), ETIME);
  CHECK_EQ(take_descriptors(&s.w, UINT32_MAX), 2);
  publish_completions(&s.w, 1, 1);
  CHECK_OK(wait_sequence(s.drm, s.q.number, s.q.next - 2, 0, &completed));
  CHECK_EQ(completed, s.q.next - 1);
  CHECK_ERR(wait_sequence(s.drm, s.q.number, s.q.next - 1, 0, NULL), ETIME);
  publish_completions(&s.w, 1, 1);
  CHECK_OK(wait_sequence(s.drm, s.q.number, s.q.next - 1, UINT64_MAX, &completed));
  CHECK_EQ(completed, s.q.next);
  device_remove(&s.d);
}

static void a_wait_may_come_before_the_submission(void) {
  struct Scene s;
  set_scene(&s, 8);
  struct Waiter w = {.q = &s.q, .sequence = (uint64_t)MLRING_START + 100, .deadline_ns = UINT64_MAX};
  pthread_t thread = start_thread(wait_in_thread, &w);
  REQUIRE(EVENTUALLY(notify_at(&s.q) == w.sequence));
  while (s.q.next <= w.sequence) {
    CHECK(!waiter_done(&w));
    submit_nops(&s.q, 1);
    serve_all(&s);
    read_all_completions(&s.q);
  }
  pthread_join(thread, NULL);
  CHECK_OK(w.result);
  device_remove(&s.d);
}

static void waiters_learn_why_a_queue_ended(void) {
  struct Scene s;
  set_scene(&s, 8);
  struct Waiter w = {.q = &s.q, .sequence = MLRING_START + 1, .deadline_ns = UINT64_MAX};
  struct Waiter done_already = {.q = &s.q, .sequence = MLRING_START, .deadline_ns = UINT64_MAX};
  submit_nops(&s.q, 2);
  pthread_t thread = start_thread(wait_in_thread, &w);
  REQUIRE(EVENTUALLY(notify_at(&s.q) == w.sequence));
  pthread_t first = start_thread(wait_in_thread, &done_already);
  REQUIRE(EVENTUALLY(notify_at(&s.q) == done_already.sequence));
  // Completed, and nobody told: what was done is done, what was not is not.
  CHECK_EQ(take_descriptors(&s.w, 1), 1);
  publish_completions(&s.w, 1, 1);
  CHECK_OK(dev_stop(s.d.control, s.d.number));
  pthread_join(thread, NULL);
  pthread_join(first, NULL);
  CHECK_ERR(w.result, ENODEV);
  CHECK_OK(done_already.result);
  CHECK_EQ(queue_state(&s.q), MLRING_STATE_LOST);
  CHECK_EQ(s.q.state->generation, s.d.generation + 1);
  CHECK_ERR(ring(&s.q), ENODEV);
  device_remove(&s.d);
}

// ---- doorbells and wakes

static void doorbells_not_seen_yet_are_one(void) {
  struct Scene s;
  struct mlaccel_event events[4];
  set_scene(&s, 8);
  CHECK_ERR(next_events(s.d.worker, events, 4), EAGAIN);
  for (int i = 0; i < 100; i++) CHECK_OK(ring(&s.q));
  CHECK_EQ(next_events(s.d.worker, events, 4), 1);
  CHECK_EQ(events[0].bits, MLACCEL_EVENT_DOORBELL);
  CHECK_EQ(events[0].queue, s.w.number);
  CHECK_ERR(next_events(s.d.worker, events, 4), EAGAIN);
  CHECK_OK(ring(&s.q));
  CHECK_EQ(next_events(s.d.worker, events, 4), 1);
  device_remove(&s.d);
}

static void a_doorbell_in_front_of_the_map_is_told_behind_it(void) {
  struct Device d;
  struct ClientQueue q;
  struct WorkerQueue w;
  struct mlaccel_event events[4];
  device_setup(&d);
  const int drm = device_open(&d);
  client_queue_open(&q, drm, 8);
  submit_nops(&q, 3);
  CHECK_OK(ring(&q));
  CHECK_ERR(next_events(d.worker, events, 4), EAGAIN);
  worker_queue_map(&w, d.worker, d.generation, q.fd);
  CHECK_EQ(next_events(d.worker, events, 4), 1);
  CHECK_EQ(events[0].bits, MLACCEL_EVENT_DOORBELL);
  CHECK_EQ(events[0].queue, w.number);
  CHECK_EQ(serve(&w), 3);
  device_remove(&d);
}

static uint64_t eventfd_count(int fd) {
  uint64_t count = 0;
  return read(fd, &count, sizeof count) == sizeof count ? count : 0;
}

static void the_wake_fd_is_signalled_when_the_worker_says_so_and_at_the_end(void) {
  struct Scene s;
  uint32_t context;
  device_setup(&s.d);
  s.drm = device_open(&s.d);
  const int wake = REQUIRE_FD(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  REQUIRE_OK(new_context(s.drm, &context));
  CHECK_ERR(client_queue_try_open(&s.q, s.drm, context, 8, s.drm), EBADF);
  REQUIRE_OK(client_queue_try_open(&s.q, s.drm, context, 8, wake));
  worker_queue_map(&s.w, s.d.worker, s.d.generation, s.q.fd);
  submit_nops(&s.q, 2);
  CHECK_EQ(take_descriptors(&s.w, UINT32_MAX), 2);
  publish_completions(&s.w, 1, 1);
  CHECK_OK(complete_queue(&s.w, 0));
  CHECK_EQ(eventfd_count(wake), 0);
  // Armed for the second one, as a client that goes to sleep does.
  mlring_client_arm(s.q.submission, (uint32_t)s.q.next);
  const uint64_t before = s.w.completed;
  uint64_t called = 0;
  publish_completions(&s.w, 1, 1);
  CHECK_OK(notify_if_due(&s.w, before, &called));
  CHECK_EQ(called, 1);
  CHECK_EQ(eventfd_count(wake), 1);
  mlring_client_disarm(s.q.submission);
  CHECK_OK(queue_end(s.d.worker, s.w.number, MLRING_STATE_CLOSED));
  CHECK_EQ(eventfd_count(wake), 1);
  CHECK_ERR(queue_end(s.d.worker, s.w.number, MLRING_STATE_CLOSED), EALREADY);
  CHECK_EQ(eventfd_count(wake), 0);
  device_remove(&s.d);
}

static void an_ended_queue_is_told_until_it_is_unmapped(void) {
  struct Scene s;
  struct mlaccel_event events[4];
  set_scene(&s, 8);
  CHECK_OK(queue_destroy(s.drm, s.q.number));
  CHECK_EQ(next_events(s.d.worker, events, 4), 1);
  CHECK_EQ(events[0].bits, MLACCEL_EVENT_ENDED);
  CHECK_EQ(events[0].queue, s.w.number);
  CHECK_EQ(queue_state(&s.q), MLRING_STATE_CLOSED);
  CHECK_ERR(complete_queue(&s.w, 0), ECANCELED);
  worker_queue_unmap(&s.w);
  CHECK_ERR(queue_unmap(s.d.worker, s.w.number), ENOENT);
  CHECK_ERR(complete_queue(&s.w, 0), ENOENT);
  CHECK_ERR(next_events(s.d.worker, events, 4), EAGAIN);
  // The client's pages stay readable.
  CHECK_EQ(s.q.completion->completion_tail, MLRING_START);
  device_remove(&s.d);
}

static const struct Case cases[] = {
    {"a_new_queue_says_what_it_should", a_new_queue_says_what_it_should, 0},
    {"a_worker_is_told_whose_queue_it_is", a_worker_is_told_whose_queue_it_is, 0},
    {"sequences_go_on_where_indices_wrap", sequences_go_on_where_indices_wrap, 0},
    {"full_rings_wrap", full_rings_wrap, 0},
    {"waiters_on_both_sides_of_the_wrap_wake_in_order", waiters_on_both_sides_of_the_wrap_wake_in_order, 0},
    {"fences_on_both_sides_of_the_wrap_signal_in_order", fences_on_both_sides_of_the_wrap_signal_in_order, 0},
    {"a_wait_ends_at_its_deadline", a_wait_ends_at_its_deadline, 0},
    {"a_wait_may_come_before_the_submission", a_wait_may_come_before_the_submission, 0},
    {"waiters_learn_why_a_queue_ended", waiters_learn_why_a_queue_ended, 0},
    {"doorbells_not_seen_yet_are_one", doorbells_not_seen_yet_are_one, 0},
    {"a_doorbell_in_front_of_the_map_is_told_behind_it", a_doorbell_in_front_of_the_map_is_told_behind_it, 0},
    {"the_wake_fd_is_signalled_when_the_worker_says_so_and_at_the_end",
     the_wake_fd_is_signalled_when_the_worker_says_so_and_at_the_end, 0},
    {"an_ended_queue_is_told_until_it_is_unmapped", an_ended_queue_is_told_until_it_is_unmapped, 0},
};

int main(int argc, char** argv) { return RUN_CASES(argc, argv, cases); }
