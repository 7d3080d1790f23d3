// In which order a worker hears of doorbells: high priorities first, and low ones in bounded time all the same.
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "support/client_queue.h"
#include "support/device.h"
#include "support/process.h"
#include "support/tap.h"
#include "support/worker_queue.h"

enum { per_priority = 6, priorities = 3, queues = per_priority * priorities };

struct Scene {
  struct Device d;
  int drm;
  struct ClientQueue q[queues];  // low ones first
};

static int priority_at(int i) { return i / per_priority - 1; }

static void set_scene(struct Scene* s) {
  device_setup(&s->d);
  s->drm = device_open(&s->d);
  for (int i = 0; i < queues; i++) {
    struct drm_mlaccel_ctx_create c = {.priority = priority_at(i)};
    struct mlaccel_queue_map map;
    REQUIRE_OK(ctx_create(s->drm, &c));
    REQUIRE_OK(client_queue_try_open(&s->q[i], s->drm, c.context, 2, -1));
    REQUIRE_OK(queue_map(s->d.worker, s->q[i].fd, &map));
    CHECK_EQ(map.priority, priority_at(i));
    CHECK_EQ(map.queue, s->q[i].number);
  }
}

static int index_of(const struct Scene* s, uint32_t number) {
  for (int i = 0; i < queues; i++)
    if (s->q[i].number == number) return i;
  note("an event of queue %u, which is none of ours", number);
  end_case();
  return -1;
}

static int priority_of(const struct Scene* s, const struct mlaccel_event* e) {
  return priority_at(index_of(s, e->queue));
}

static void every_queue_is_told_once_and_high_ones_first(void) {
  struct Scene s;
  struct mlaccel_event events[queues + 1];
  int told[queues];
  set_scene(&s);
  // Low ones ring first.
  for (int i = 0; i < queues; i++) CHECK_OK(ring(&s.q[i]));
  const int count = next_events(s.d.worker, events, queues + 1);
  REQUIRE_EQ(count, queues);
  memset(told, 0, sizeof told);
  for (int i = 0; i < count; i++) told[index_of(&s, events[i].queue)]++;
  for (int i = 0; i < queues; i++) CHECK_EQ(told[i], 1);
  // Not strictly by priority, or low ones could wait for ever; but a high one leads, and they are through first.
  CHECK_EQ(priority_of(&s, &events[0]), 1);
  double rank[priorities] = {0, 0, 0};
  for (int i = 0; i < count; i++) rank[priority_of(&s, &events[i]) + 1] += i;
  note("mean ranks: high %.1f, usual %.1f, low %.1f", rank[2] / per_priority, rank[1] / per_priority,
       rank[0] / per_priority);
  CHECK(rank[2] < rank[1]);
  CHECK(rank[1] < rank[0]);
  CHECK_ERR(next_events(s.d.worker, events, 1), EAGAIN);
  device_remove(&s.d);
}

static void queues_of_one_priority_take_turns(void) {
  struct Scene s;
  struct mlaccel_event event;
  unsigned told[queues];
  set_scene(&s);
  memset(told, 0, sizeof told);
  for (int i = 0; i < per_priority; i++) CHECK_OK(ring(&s.q[i]));
  for (int i = 0; i < 100 * per_priority; i++) {
    REQUIRE_EQ(next_events(s.d.worker, &event, 1), 1);
    const int at = index_of(&s, event.queue);
    told[at]++;
    // At once again, which must not put it in front of the others.
    CHECK_OK(ring(&s.q[at]));
  }
  for (int i = 0; i < per_priority; i++) CHECK_EQ(told[i], 100u);
  device_remove(&s.d);
}

// All high and usual queues ring again as soon as they are told; how many events pass until each low one is told.
static void check_low_ones_are_told(unsigned room) {
  struct Scene s;
  struct mlaccel_event events[32];
  set_scene(&s);
  for (int round = 0; round < 20 && !case_failed(); round++) {
    unsigned passed = 0, worst = 0;
    int low_left = per_priority;
    for (int i = 0; i < queues; i++) CHECK_OK(ring(&s.q[i]));
    while (low_left > 0 && passed < 1000) {
      const int count = next_events(s.d.worker, events, room);
      REQUIRE_AS(count, >, 0);
      for (int i = 0; i < count; i++) {
        passed++;
        if (priority_of(&s, &events[i]) == -1) {
          low_left--;
          worst = passed;
        } else {
          CHECK_OK(ring(&s.q[index_of(&s, events[i].queue)]));
        }
      }
    }
    if (round == 0) note("room for %u: the last of %d low ones was event %u", room, per_priority, worst);
    // One in eight is theirs, and a bit for the order in which things begin.
    CHECK_EQ(low_left, 0);
    CHECK_AS(worst, <=, 8u * per_priority + 32);
    while (next_events(s.d.worker, events, 32) > 0) continue;
  }
  device_remove(&s.d);
}

static void low_ones_are_told_in_bounded_time(void) { check_low_ones_are_told(32); }

static void low_ones_are_told_in_bounded_time_one_by_one(void) { check_low_ones_are_told(1); }

static void low_ones_are_told_in_bounded_time_three_by_three(void) { check_low_ones_are_told(3); }

// And the high ones are never far behind, while everybody rings.
static void high_ones_come_first_under_load(void) {
  struct Scene s;
  struct mlaccel_event event;
  unsigned counts[priorities] = {0, 0, 0};
  set_scene(&s);
  for (int i = 0; i < queues; i++) CHECK_OK(ring(&s.q[i]));
  for (int i = 0; i < 4000; i++) {
    REQUIRE_EQ(next_events(s.d.worker, &event, 1), 1);
    counts[priority_of(&s, &event) + 1]++;
    CHECK_OK(ring(&s.q[index_of(&s, event.queue)]));
  }
  note("of 4000: high %u, usual %u, low %u", counts[2], counts[1], counts[0]);
  CHECK_AS(counts[2], >, counts[1]);
  CHECK_AS(counts[1], >, counts[0]);
  CHECK_AS(counts[0], >=, 4000u / 16);
  device_remove(&s.d);
}

static void ask_for_high(void* argument) {
  const struct Device* d = argument;
  const int drm = device_open(d);
  struct drm_mlaccel_ctx_create c = {.priority = 1};
  CHECK_ERR(ctx_create(drm, &c), EPERM);
  c.priority = -1;
  CHECK_OK(ctx_create(drm, &c));
  c.priority = 2;
  CHECK_ERR(ctx_create(drm, &c), EINVAL);
  c.priority = -2;
  CHECK_ERR(ctx_create(drm, &c), EINVAL);
}

static void a_high_priority_is_for_who_may_be_nice(void) {
  struct Device d;
  device_setup(&d);
  CHECK_OK(wait_child(fork_as(1001, ask_for_high, &d), 20));
  device_remove(&d);
}

static const struct Case cases[] = {
    {"every_queue_is_told_once_and_high_ones_first", every_queue_is_told_once_and_high_ones_first, 0},
    {"queues_of_one_priority_take_turns", queues_of_one_priority_take_turns, 0},
    {"low_ones_are_told_in_bounded_time", low_ones_are_told_in_bounded_time, 0},
    {"low_ones_are_told_in_bounded_time_one_by_one", low_ones_are_told_in_bounded_time_one_by_one, 0},
    {"low_ones_are_told_in_bounded_time_three_by_three", low_ones_are_told_in_bounded_time_three_by_three, 0},
    {"high_ones_come_first_under_load", high_ones_come_first_under_load, 0},
    {"a_high_priority_is_for_who_may_be_nice", a_high_priority_is_for_who_may_be_nice, 0},
};

int main(int argc, char** argv) { return RUN_CASES(argc, argv, cases); }
