// Fences that a client arms: at points of timelines that are waited for before they are there, bounded, one per
// sequence.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include "support/client_queue.h"
#include "support/device.h"
#include "support/process.h"
#include "support/tap.h"
#include "support/worker_queue.h"

struct Scene {
  struct Device d;
  int drm;
  uint32_t syncobj;
  struct ClientQueue q;
  struct WorkerQueue w;
};

static void set_scene(struct Scene* s) {
  device_setup(&s->d);
  s->drm = device_open(&s->d);
  client_queue_open(&s->q, s->drm, 16);
  worker_queue_map(&s->w, s->d.worker, s->d.generation, s->q.fd);
  REQUIRE_OK(syncobj_create(s->drm, 0, &s->syncobj));
}

// The worker completes the next `count` and calls the kernel if somebody waits for them.
static void complete_next(struct Scene* s, uint32_t count) {
  const uint64_t before = s->w.completed;
  REQUIRE_EQ(take_descriptors(&s->w, count), count);
  publish_completions(&s->w, count, 1);
  REQUIRE_OK(notify_if_due(&s->w, before, NULL));
}

struct Waiter {
  int drm;
  uint32_t syncobj;
  uint64_t point;
  int result;
  bool started, done;
};

static void* wait_for_point(void* argument) {
  struct Waiter* w = argument;
  __atomic_store_n(&w->started, true, __ATOMIC_SEQ_CST);
  w->result =
      timeline_wait(w->drm, w->syncobj, w->point, now_ns() + SECONDS(60), DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT);
  __atomic_store_n(&w->done, true, __ATOMIC_SEQ_CST);
  return NULL;
}

static bool done(const struct Waiter* w) { return __atomic_load_n(&w->done, __ATOMIC_SEQ_CST); }

static void a_point_is_waited_for_before_it_is_submitted(void) {
  struct Scene s;
  set_scene(&s);
  struct Waiter w = {.drm = s.drm, .syncobj = s.syncobj, .point = 7};
  pthread_t thread = start_thread(wait_for_point, &w);
  REQUIRE(EVENTUALLY(__atomic_load_n(&w.started, __ATOMIC_SEQ_CST)));
  // Without that flag there is nothing to wait for.
  CHECK_ERR(timeline_wait(s.drm, s.syncobj, 7, now_ns() + SECONDS(20), 0), EINVAL);
  // A lower point is not it.
  submit_nops(&s.q, 2);
  CHECK_OK(arm_point(s.drm, s.q.number, MLRING_START, s.syncobj, 3));
  complete_next(&s, 1);
  CHECK_OK(timeline_wait(s.drm, s.syncobj, 3, now_ns() + SECONDS(20), 0));
  CHECK(!done(&w));
  CHECK_OK(arm_point(s.drm, s.q.number, MLRING_START + 1, s.syncobj, 7));
  CHECK(!done(&w));
  CHECK_ERR(timeline_wait(s.drm, s.syncobj, 7, 0, 0), ETIME);
  complete_next(&s, 1);
  pthread_join(thread, NULL);
  CHECK_OK(w.result);
  uint64_t point = 0;
  CHECK_OK(timeline_query(s.drm, s.syncobj, &point));
  CHECK_EQ(point, 7);
  device_remove(&s.d);
}

static void an_available_point_is_enough_for_who_only_wants_that(void) {
  struct Scene s;
  set_scene(&s);
  const uint32_t flags = DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT | DRM_SYNCOBJ_WAIT_FLAGS_WAIT_AVAILABLE;
  CHECK_ERR(timeline_wait(s.drm, s.syncobj, 1, now_ns() + MILLISECONDS(20), flags), ETIME);
  submit_nops(&s.q, 1);
  CHECK_OK(arm_point(s.drm, s.q.number, MLRING_START, s.syncobj, 1));
  CHECK_OK(timeline_wait(s.drm, s.syncobj, 1, now_ns() + SECONDS(20), flags));
  CHECK_ERR(timeline_wait(s.drm, s.syncobj, 1, 0, 0), ETIME);
  device_remove(&s.d);
}

static void a_binary_syncobj_takes_point_0(void) {
  struct Scene s;
  int sync_file;
  set_scene(&s);
  submit_nops(&s.q, 1);
  CHECK_OK(arm_point(s.drm, s.q.number, MLRING_START, s.syncobj, 0));
  CHECK_ERR(syncobj_wait(s.drm, s.syncobj, 0, 0), ETIME);
  REQUIRE_OK(sync_file_export(s.drm, s.syncobj, &sync_file));
  CHECK_EQ(sync_file_status(sync_file), 0);
  struct pollfd wait = {.fd = sync_file, .events = POLLIN};
  CHECK_EQ(poll(&wait, 1, 0), 0);
  complete_next(&s, 1);
  CHECK_EQ(poll(&wait, 1, 20000), 1);
  CHECK_EQ(sync_file_status(sync_file), 1);
  CHECK_OK(syncobj_wait(s.drm, s.syncobj, 0, 0));
  // Armed for what is completed already, it has signalled.
  CHECK_OK(arm_point(s.drm, s.q.number, MLRING_START, s.syncobj, 0));
  CHECK_OK(syncobj_wait(s.drm, s.syncobj, 0, 0));
  device_remove(&s.d);
}

static void what_is_not_under_way_is_not_armed(void) {
  struct Scene s;
  uint32_t other, context;
  struct ClientQueue second;
  set_scene(&s);
  REQUIRE_OK(syncobj_create(s.drm, 0, &other));
  REQUIRE_OK(new_context(s.drm, &context));
  REQUIRE_OK(client_queue_try_open(&second, s.drm, context, 8, -1));
  CHECK_ERR(arm_point(s.drm, s.q.number, MLRING_START, s.syncobj, 1), EAGAIN);
  submit_nops(&s.q, 3);
  CHECK_ERR(arm_point(s.drm, s.q.number, MLRING_START + 3, s.syncobj, 1), EAGAIN);
  CHECK_ERR(arm_point(s.drm, s.q.number, UINT64_MAX, s.syncobj, 1), EAGAIN);
  CHECK_ERR(arm_point(s.drm, s.q.number, MLRING_START, s.syncobj + 100, 1), ENOENT);
  CHECK_ERR(arm_point(s.drm, s.q.number + 100, MLRING_START, s.syncobj, 1), ENOENT);
  CHECK_OK(arm_point(s.drm, s.q.number, MLRING_START, s.syncobj, 5));
  CHECK_ERR(arm_point(s.drm, s.q.number, MLRING_START, s.syncobj, 5), EINVAL);
  CHECK_ERR(arm_point(s.drm, s.q.number, MLRING_START, s.syncobj, 4), EINVAL);

  // A dependency, on its way but not there.
  submit_nops(&second, 1);
  struct drm_mlaccel_fence_arm behind = {.queue = second.number,
                                         .sequence = MLRING_START,
                                         .syncobj = other,
                                         .point = 1,
                                         .after_syncobj = s.syncobj,
                                         .after_point = 5};
  CHECK_ERR(fence_arm(s.drm, &behind), EBUSY);
  behind.after_point = 6;
  CHECK_ERR(fence_arm(s.drm, &behind), ENOENT);
  behind.after_point = 5;
  behind.after_syncobj = other + 100;
  CHECK_ERR(fence_arm(s.drm, &behind), ENOENT);
  behind.after_syncobj = 0;
  CHECK_ERR(fence_arm(s.drm, &behind), EINVAL);
  behind.after_syncobj = s.syncobj;
  CHECK_ERR(timeline_wait(s.drm, other, 1, 0, 0), EINVAL);
  complete_next(&s, 1);
  CHECK_OK(fence_arm(s.drm, &behind));
  CHECK_ERR(timeline_wait(s.drm, other, 1, 0, 0), ETIME);
  // Only the refused ones have left no trace.
  CHECK_EQ(notify_at(&s.q), MLRING_NEVER);
  CHECK_EQ(notify_at(&second), MLRING_START);
  device_remove(&s.d);
}

static void no_more_fences_than_there_may_be(void) {
  struct Scene s;
  set_scene(&s);
  submit_nops(&s.q, 1);
  for (uint64_t i = 0; i < MLACCEL_FENCES_MAX; i++)
    REQUIRE_OK(arm_point(s.drm, s.q.number, MLRING_START, s.syncobj, i + 1));
  CHECK_ERR(arm_point(s.drm, s.q.number, MLRING_START, s.syncobj, MLACCEL_FENCES_MAX + 1), ENOSPC);
  complete_next(&s, 1);
  CHECK_OK(timeline_wait(s.drm, s.syncobj, MLACCEL_FENCES_MAX, now_ns() + SECONDS(20), 0));
  submit_nops(&s.q, 1);
  CHECK_OK(arm_point(s.drm, s.q.number, MLRING_START + 1, s.syncobj, MLACCEL_FENCES_MAX + 1));
  device_remove(&s.d);
}

static void a_fence_that_nobody_completes_expires(void) {
  struct Scene s;
  struct drm_mlaccel_ctx_state state;
  int sync_file;
  set_scene(&s);
  submit_nops(&s.q, 1);
  struct drm_mlaccel_fence_arm a = {
      .queue = s.q.number, .sequence = MLRING_START, .syncobj = s.syncobj, .timeout_ns = MILLISECONDS(50)};
  const uint64_t start = now_ns();
  CHECK_OK(fence_arm(s.drm, &a));
  REQUIRE_OK(sync_file_export(s.drm, s.syncobj, &sync_file));
  struct pollfd wait = {.fd = sync_file, .events = POLLIN};
  CHECK_EQ(poll(&wait, 1, 20000), 1);
  // No lower bound: a guest whose ticks come late lets any timer of jiffies expire some ms early.
  CHECK_AS(now_ns() - start, <, SECONDS(5));
  CHECK_ERR(sync_file_status(sync_file), ETIMEDOUT);
  CHECK_EQ(notify_at(&s.q), MLRING_NEVER);
  // It waited for a turn: the context is innocent, and the queue goes on.
  REQUIRE_OK(ctx_state(s.drm, s.q.context, &state));
  CHECK_EQ(state.state, MLACCEL_CTX_INNOCENT);
  CHECK_EQ(queue_state(&s.q), MLRING_STATE_ACTIVE);
  complete_next(&s, 1);
  CHECK_OK(wait_within(&s.q, MLRING_START, 20));
  CHECK_ERR(sync_file_status(sync_file), ETIMEDOUT);
  device_remove(&s.d);
}

static void what_was_completed_silently_counts_at_the_deadline(void) {
  struct Scene s;
  int sync_file;
  set_scene(&s);
  submit_nops(&s.q, 1);
  struct drm_mlaccel_fence_arm a = {
      .queue = s.q.number, .sequence = MLRING_START, .syncobj = s.syncobj, .timeout_ns = MILLISECONDS(100)};
  CHECK_OK(fence_arm(s.drm, &a));
  REQUIRE_OK(sync_file_export(s.drm, s.syncobj, &sync_file));
  // The worker completes it and forgets to say so.
  CHECK_EQ(take_descriptors(&s.w, 1), 1);
  publish_completions(&s.w, 1, 1);
  struct pollfd wait = {.fd = sync_file, .events = POLLIN};
  CHECK_EQ(poll(&wait, 1, 20000), 1);
  CHECK_EQ(sync_file_status(sync_file), 1);
  device_remove(&s.d);
}

// For each way in which a queue ends, what its fence says.
enum Ending { destroyed, context_destroyed, file_closed, worker_stopped, worker_closed, unmapped, faulted, endings };

static int end_queue(struct Scene* s, enum Ending how) {
  switch (how) {
    case destroyed: CHECK_OK(queue_destroy(s->drm, s->q.number)); return -ECANCELED;
    case context_destroyed: CHECK_OK(ctx_destroy(s->drm, s->q.context)); return -ECANCELED;
    case file_closed:
      client_queue_unmap(&s->q);
      CHECK_OK(close(s->drm));
      return -ECANCELED;
    case worker_stopped: CHECK_OK(dev_stop(s->d.control, s->d.number)); return -ENODEV;
    case worker_closed:
      // A mapping holds the file that it was made from.
      munmap((void*)(uintptr_t)s->w.submission, s->w.layout.submission_bytes);
      munmap(s->w.completion, s->w.layout.completion_bytes);
      munmap((void*)(uintptr_t)s->w.state, s->w.layout.state_bytes);
      CHECK_OK(close(s->d.worker));
      s->d.worker = -1;
      return -ENODEV;
    case unmapped: CHECK_OK(queue_unmap(s->d.worker, s->w.number)); return -ECANCELED;
    default: CHECK_OK(queue_end(s->d.worker, s->w.number, MLRING_STATE_FAULTED)); return -EPROTO;
  }
}

static void a_fence_says_why_its_queue_ended(void) {
  for (enum Ending how = destroyed; how < endings; how++) {
    struct Scene s;
    int finished, pending;
    set_scene(&s);
    submit_nops(&s.q, 2);
    CHECK_OK(arm_point(s.drm, s.q.number, MLRING_START, s.syncobj, 0));
    REQUIRE_OK(sync_file_export(s.drm, s.syncobj, &finished));
    CHECK_OK(arm_point(s.drm, s.q.number, MLRING_START + 1, s.syncobj, 0));
    REQUIRE_OK(sync_file_export(s.drm, s.syncobj, &pending));
    // The first one is completed, and the end comes before anybody says so.
    CHECK_EQ(take_descriptors(&s.w, 1), 1);
    publish_completions(&s.w, 1, 1);
    const int why = end_queue(&s, how);
    struct pollfd wait = {.fd = pending, .events = POLLIN};
    CHECK_EQ(poll(&wait, 1, 5000), 1);
    if (!CHECK_EQ(sync_file_status(pending), why)) note("ending %d", how);
    if (!CHECK_EQ(sync_file_status(finished), 1)) note("ending %d", how);
    close(finished);
    close(pending);
    device_remove(&s.d);
  }
}

static void a_signalled_fence_outlives_its_device(void) {
  struct Scene s;
  int sync_file;
  set_scene(&s);
  submit_nops(&s.q, 1);
  CHECK_OK(arm_point(s.drm, s.q.number, MLRING_START, s.syncobj, 0));
  REQUIRE_OK(sync_file_export(s.drm, s.syncobj, &sync_file));
  worker_queue_unmap(&s.w);
  client_queue_unmap(&s.q);
  close(s.drm);
  device_remove(&s.d);
  CHECK_ERR(sync_file_status(sync_file), ECANCELED);
  close(sync_file);
}

static const struct Case cases[] = {
    {"a_point_is_waited_for_before_it_is_submitted", a_point_is_waited_for_before_it_is_submitted, 0},
    {"an_available_point_is_enough_for_who_only_wants_that", an_available_point_is_enough_for_who_only_wants_that, 0},
    {"a_binary_syncobj_takes_point_0", a_binary_syncobj_takes_point_0, 0},
    {"what_is_not_under_way_is_not_armed", what_is_not_under_way_is_not_armed, 0},
    {"no_more_fences_than_there_may_be", no_more_fences_than_there_may_be, 0},
    {"a_fence_that_nobody_completes_expires", a_fence_that_nobody_completes_expires, 0},
    {"what_was_completed_silently_counts_at_the_deadline", what_was_completed_silently_counts_at_the_deadline, 0},
    {"a_fence_says_why_its_queue_ended", a_fence_says_why_its_queue_ended, 0},
    {"a_signalled_fence_outlives_its_device", a_signalled_fence_outlives_its_device, 0},
};

int main(int argc, char** argv) { return RUN_CASES(argc, argv, cases); }
