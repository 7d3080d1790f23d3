// Limits, exact to the page: of a user's host memory, of a context, a file and a user on the device; alone, and with
// threads, files and processes at once.
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "support/client_queue.h"
#include "support/device.h"
#include "support/process.h"
#include "support/tap.h"

static const uint64_t page = 4096;
static const uint64_t mebibyte = 1 << 20;
enum { somebody = 1001, another = 1002 };

static struct drm_mlaccel_dev_query query(int drm) {
  struct drm_mlaccel_dev_query q = {.flags = 0};
  REQUIRE_OK(dev_query(drm, &q));
  return q;
}

// Takes pages until none is given; how many, and with which error it ended.
static uint64_t take_host_pages(int drm, int* error) {
  uint64_t count = 0;
  uint32_t handle;
  while ((*error = host_bo(drm, page, &handle)) == 0) count++;
  return count;
}

static uint64_t take_device_pages(int drm, uint32_t context, int* error) {
  uint64_t count = 0;
  uint32_t handle;
  while ((*error = device_bo(drm, context, page, 0, &handle)) == 0) count++;
  return count;
}

// ---- host memory

static void a_users_host_limit_is_a_share_of_the_machines_memory(void) {
  struct Device d;
  struct mlaccel_features features = {.abi = 0};
  struct sysinfo machine;
  device_setup(&d);
  const int drm = device_open(&d);
  REQUIRE_OK(get_features(d.control, &features));
  REQUIRE_OK(sysinfo(&machine));
  const uint64_t memory = (uint64_t)machine.totalram * machine.mem_unit;
  const uint64_t wanted = memory / 100 * module_parameter("host_limit_percent");
  CHECK_AS(features.host_limit, <=, wanted + 100 * page);
  CHECK_AS(features.host_limit + 100 * page, >=, wanted);
  CHECK_EQ(query(drm).user_host_limit, features.host_limit);
  CHECK_EQ(query(drm).user_host_bytes, 0);
  CHECK_EQ(features.fence_timeout_ns, module_parameter("fence_timeout_ms") * UINT64_C(1000000));
  CHECK_EQ(features.fence_timeout_ns, query(drm).fence_timeout_ns);
  device_remove(&d);
}

static void hold_host_limit(void* argument) {
  const struct Device* d = argument;
  const int drm = device_open(d), second = device_open(d);
  int error = 0;
  uint32_t handle, context;
  struct ClientQueue q;
  CHECK_EQ(query(drm).user_host_limit, 64 * page);
  // More at once than there may be in all.
  CHECK_ERR(host_bo(drm, 64 * page + 1, &handle), EDQUOT);
  CHECK_EQ(query(drm).user_host_bytes, 0);
  REQUIRE_OK(host_bo(drm, 60 * page, &handle));
  CHECK_ERR(host_bo(second, 4 * page + 1, &handle), EDQUOT);
  CHECK_EQ(take_host_pages(second, &error), 4);
  CHECK_EQ(error, -EDQUOT);
  CHECK_EQ(query(drm).user_host_bytes, 64 * page);
  CHECK_ERR(host_bo(drm, 1, &handle), EDQUOT);
  // A queue's pages are host memory.
  REQUIRE_OK(new_context(drm, &context));
  CHECK_ERR(client_queue_try_open(&q, drm, context, 8, -1), EDQUOT);
  CHECK_EQ(query(drm).user_host_bytes, 64 * page);
  close(second);
  CHECK(EVENTUALLY(query(drm).user_host_bytes == 60 * page));
}

static void host_memory_is_limited_per_user(void) {
  struct Device d, second;
  uint32_t handle;
  device_setup(&d);
  device_add(&second, d.control, &(struct DeviceOptions){.memory_bytes = 0});
  REQUIRE_OK(set_limit(d.control, 0, somebody, 64 * page));
  CHECK_OK(wait_child(fork_as(somebody, hold_host_limit, &d), 60));
  // On all devices together, and again from nothing.
  CHECK_OK(wait_child(fork_as(somebody, hold_host_limit, &second), 60));
  // Another user's limit is another's.
  const int drm = device_open(&d);
  CHECK_OK(host_bo(drm, 65 * page, &handle));
  close(drm);
  close(second.worker);
  CHECK_OK(dev_unregister(d.control, second.number));
  device_remove(&d);
}

static uint64_t huge_pages(void) {
  char text[8192];
  REQUIRE(read_text("/proc/meminfo", text, sizeof text));
  const char* line = strstr(text, "ShmemHugePages:");
  return line == NULL ? 0 : strtoull(line + strlen("ShmemHugePages:"), NULL, 10);
}

// Whatever the administrator wants for other shared memory: a page that is charged is one page.
static void small_buffers_take_no_huge_pages(void) {
  static const char* const policy = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";
  struct Device d;
  device_setup(&d);
  const int drm = device_open(&d);
  REQUIRE_OK(write_text(policy, "always"));
  const uint64_t before = huge_pages();
  for (int i = 0; i < 16; i++) {
    uint32_t handle;
    struct drm_mlaccel_bo_info info = {.flags = 0};
    REQUIRE_OK(host_bo(drm, page, &handle));
    REQUIRE_OK(bo_info(drm, handle, &info));
    char* at = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, drm, (off_t)info.map_offset);
    REQUIRE(at != MAP_FAILED);
    *at = 1;
    munmap(at, page);
  }
  CHECK_EQ(query(drm).user_host_bytes, 16 * page);
  CHECK_EQ(huge_pages(), before);
  CHECK_OK(write_text(policy, "never"));
  device_remove(&d);
}

static void host_limits_span_devices(void) {
  struct Device d, second;
  uint32_t handle;
  device_setup(&d);
  device_add(&second, d.control, &(struct DeviceOptions){.memory_bytes = 0});
  const int drm = device_open(&d), elsewhere = device_open(&second);
  REQUIRE_OK(set_limit(d.control, 0, getuid(), 8 * page));
  CHECK_OK(host_bo(drm, 5 * page, &handle));
  CHECK_ERR(host_bo(elsewhere, 4 * page, &handle), EDQUOT);
  CHECK_OK(host_bo(elsewhere, 3 * page, &handle));
  CHECK_EQ(query(drm).user_host_bytes, 8 * page);
  CHECK_EQ(query(elsewhere).user_host_bytes, 8 * page);
  close(drm);
  close(elsewhere);
  close(second.worker);
  CHECK_OK(dev_unregister(d.control, second.number));
  device_remove(&d);
}

static void a_queue_is_charged_as_long_as_its_pages_are_there(void) {
  struct Device d;
  struct ClientQueue q;
  device_setup(&d);
  const int drm = device_open(&d);
  client_queue_open(&q, drm, 64);
  CHECK_EQ(query(drm).user_host_bytes, q.layout.bytes);
  CHECK_OK(queue_destroy(drm, q.number));
  CHECK_EQ(query(drm).user_host_bytes, q.layout.bytes);
  client_queue_unmap(&q);
  CHECK(EVENTUALLY(query(drm).user_host_bytes == 0));
  device_remove(&d);
}

static void a_limit_below_what_is_held_takes_nothing_away(void) {
  struct Device d;
  uint32_t handle, small, context, memory, more;
  device_setup(&d);
  const int drm = device_open(&d);
  REQUIRE_OK(host_bo(drm, 8 * page, &handle));
  REQUIRE_OK(set_limit(d.control, 0, getuid(), 4 * page));
  CHECK_EQ(query(drm).user_host_bytes, 8 * page);
  CHECK_EQ(query(drm).user_host_limit, 4 * page);
  CHECK_ERR(host_bo(drm, 1, &small), EDQUOT);
  CHECK_OK(gem_close(drm, handle));
  CHECK_OK(host_bo(drm, 4 * page, &small));
  CHECK_ERR(host_bo(drm, 1, &handle), EDQUOT);

  REQUIRE_OK(new_context(drm, &context));
  REQUIRE_OK(device_bo(drm, context, 8 * page, 0, &memory));
  REQUIRE_OK(set_limit(d.control, d.number, getuid(), 4 * page));
  CHECK_EQ(query(drm).user_device_bytes, 8 * page);
  CHECK_EQ(query(drm).user_device_limit, 4 * page);
  CHECK_ERR(device_bo(drm, context, page, 0, &more), EDQUOT);
  CHECK_OK(gem_close(drm, memory));
  CHECK_OK(device_bo(drm, context, 4 * page, 0, &more));
  CHECK_ERR(set_limit(d.control, d.number + 1000, getuid(), page), ENOENT);
  device_remove(&d);
}

// ---- device memory

static void device_limits_are_exact_on_each_level(void) {
  // User 32 pages, file 24, one context 8, one without a limit of its own.
  struct Device d;
  int error;
  device_add(&d, -1, &(struct DeviceOptions){.user_limit = 32 * page, .client_limit = 24 * page});
  const int drm = device_open(&d), second = device_open(&d);
  struct drm_mlaccel_ctx_create limited = {.memory_limit = 8 * page};
  uint32_t open_context, other_context, handle;
  REQUIRE_OK(ctx_create(drm, &limited));
  REQUIRE_OK(new_context(drm, &open_context));
  REQUIRE_OK(new_context(second, &other_context));
  CHECK_ERR(device_bo(drm, limited.context, 8 * page + 1, 0, &handle), EDQUOT);
  CHECK_EQ(take_device_pages(drm, limited.context, &error), 8);
  CHECK_EQ(error, -EDQUOT);
  CHECK_ERR(device_bo(drm, open_context, 17 * page, 0, &handle), EDQUOT);
  CHECK_EQ(take_device_pages(drm, open_context, &error), 16);
  CHECK_EQ(error, -EDQUOT);
  CHECK_ERR(device_bo(second, other_context, 9 * page, 0, &handle), EDQUOT);
  CHECK_EQ(take_device_pages(second, other_context, &error), 8);
  CHECK_EQ(error, -EDQUOT);
  CHECK_EQ(query(drm).user_device_bytes, 32 * page);
  CHECK_EQ(query(drm).memory_used, 32 * page);
  // A refused one left nothing anywhere: what the second file gives back, the first may not have, a third may.
  close(second);
  CHECK(EVENTUALLY(query(drm).user_device_bytes == 24 * page));
  CHECK_ERR(device_bo(drm, open_context, page, 0, &handle), EDQUOT);
  const int third = device_open(&d);
  REQUIRE_OK(new_context(third, &other_context));
  CHECK_EQ(take_device_pages(third, other_context, &error), 8);
  device_remove(&d);
}

static void use_whole_user_limit(void* argument) {
  const struct Device* d = argument;
  const int drm = device_open(d);
  uint32_t context;
  int error;
  REQUIRE_OK(new_context(drm, &context));
  CHECK_EQ(take_device_pages(drm, context, &error), 16);
  CHECK_EQ(error, -EDQUOT);
  CHECK_EQ(query(drm).user_device_bytes, 16 * page);
}

static void device_memory_is_limited_per_user(void) {
  struct Device d;
  device_add(&d, -1, &(struct DeviceOptions){.user_limit = 16 * page});
  const pid_t one = fork_as(somebody, use_whole_user_limit, &d);
  const pid_t two = fork_as(another, use_whole_user_limit, &d);
  CHECK_OK(wait_child(one, 60));
  CHECK_OK(wait_child(two, 60));
  // Returned when a file closes.
  CHECK(EVENTUALLY(sysfs_number(&d, "memory_used") == 0));
  CHECK_OK(wait_child(fork_as(somebody, use_whole_user_limit, &d), 60));
  device_remove(&d);
}

static void who_opened_a_file_pays_whoever_uses_it(void) {
  struct Device d;
  int sockets[2];
  device_add(&d, -1, &(struct DeviceOptions){.memory_bytes = 0});
  REQUIRE_OK(set_limit(d.control, 0, somebody, 4 * page));
  socket_pair(sockets);
  const int mine = device_open(&d);
  // The child keeps its file open until it has been used here.
  const pid_t child = fork();
  if (child == 0) {
    REQUIRE_OK(setresuid(somebody, somebody, somebody));
    REQUIRE_OK(send_fd(sockets[1], device_open(&d)));
    _exit(0);
  }
  const int theirs = REQUIRE_FD(receive_fd(sockets[0]));
  CHECK_OK(wait_child(child, 20));
  int error;
  CHECK_EQ(take_host_pages(theirs, &error), 4);
  CHECK_EQ(error, -EDQUOT);
  CHECK_EQ(query(theirs).user_host_bytes, 4 * page);
  CHECK_EQ(query(mine).user_host_bytes, 0);
  close(theirs);
  device_remove(&d);
}

// ---- at once

struct Hammer {
  const struct Device* device;
  uint64_t seed, rounds, limit_pages;
  int drm;
  uint32_t context;
  bool host;
};

static int take_pages(const struct Hammer* h, uint64_t pages, uint32_t* handle) {
  return h->host ? host_bo(h->drm, pages * page, handle) : device_bo(h->drm, h->context, pages * page, 0, handle);
}

// Takes and gives back at random; holds nothing at the end. What it holds itself never exceeds the limit.
static void* hammer(void* argument) {
  struct Hammer h = *(const struct Hammer*)argument;
  uint32_t handles[16];
  uint64_t sizes[16], held = 0, given = 0, refused = 0;
  unsigned count = 0;
  for (uint64_t round = 0; round < h.rounds; round++) {
    if (count < 16 && next_random(&h.seed) % 2 == 0) {
      sizes[count] = 1 + random_below(&h.seed, 8);
      const int result = take_pages(&h, sizes[count], &handles[count]);
      if (result == 0) {
        held += sizes[count++];
        given++;
        if (!CHECK_AS(held, <=, h.limit_pages)) break;
      } else {
        refused++;
        if (!CHECK_EQ(result, -EDQUOT)) break;
      }
    } else if (count > 0) {
      held -= sizes[--count];
      if (!CHECK_OK(gem_close(h.drm, handles[count]))) break;
    }
    const struct drm_mlaccel_dev_query q = query(h.drm);
    const uint64_t seen = h.host ? q.user_host_bytes : q.user_device_bytes;
    if (!CHECK_AS(seen, <=, h.limit_pages * page)) break;
    if (!CHECK_AS(seen, >=, held * page)) break;
  }
  while (count > 0) CHECK_OK(gem_close(h.drm, handles[--count]));
  return NULL;
}

// Two threads on one file and one on another, all of one user.
static void hammer_in_threads(void* argument) {
  struct Hammer base = *(const struct Hammer*)argument, threads[3];
  pthread_t ids[3];
  int first = -1;
  uint32_t context = 0;
  for (int i = 0; i < 3; i++) {
    threads[i] = base;
    threads[i].seed = base.seed + (uint64_t)(unsigned)getpid() * 8 + (uint64_t)i;
    if (i != 1) {
      first = device_open(base.device);
      REQUIRE_OK(new_context(first, &context));
    }
    threads[i].drm = first;
    threads[i].context = context;
  }
  for (int i = 0; i < 3; i++) ids[i] = start_thread(hammer, &threads[i]);
  for (int i = 0; i < 3; i++) pthread_join(ids[i], NULL);
}

static void hammer_from_processes(bool host) {
  struct Device d;
  device_add(&d, -1, &(struct DeviceOptions){.memory_bytes = 4 * mebibyte});
  REQUIRE_OK(set_limit(d.control, host ? 0 : d.number, somebody, 32 * page));
  struct Hammer h = {
      .device = &d, .seed = test_seed(), .rounds = test_rounds_within(3000, 10000), .limit_pages = 32, .host = host};
  pid_t children[2];
  for (int i = 0; i < 2; i++) children[i] = fork_as(somebody, hammer_in_threads, &h);
  for (int i = 0; i < 2; i++) CHECK_OK(wait_child(children[i], 200));
  CHECK(EVENTUALLY(sysfs_number(&d, "memory_used") == 0));
  device_remove(&d);
}

static void host_quotas_hold_under_concurrency(void) { hammer_from_processes(true); }

static void device_quotas_hold_under_concurrency(void) { hammer_from_processes(false); }

// Everybody takes pages until refused: together they have exactly what may be had.
struct Race {
  const struct Device* device;
  int drm;
  uint32_t context;
  bool host;
  uint64_t* total;
  pthread_barrier_t* start;
};

static void* race(void* argument) {
  struct Race* r = argument;
  int error;
  pthread_barrier_wait(r->start);
  const uint64_t got = r->host ? take_host_pages(r->drm, &error) : take_device_pages(r->drm, r->context, &error);
  CHECK_EQ(error, -EDQUOT);
  __atomic_add_fetch(r->total, got, __ATOMIC_SEQ_CST);
  return NULL;
}

static void race_to(const struct Device* d, uint64_t pages, bool host) {
  enum { threads = 4 };
  struct Race races[threads];
  pthread_t ids[threads];
  pthread_barrier_t start;
  uint64_t total = 0;
  pthread_barrier_init(&start, NULL, threads);
  for (int i = 0; i < threads; i++) {
    races[i] = (struct Race){.device = d, .host = host, .total = &total, .start = &start, .drm = device_open(d)};
    REQUIRE_OK(new_context(races[i].drm, &races[i].context));
  }
  for (int i = 0; i < threads; i++) ids[i] = start_thread(race, &races[i]);
  for (int i = 0; i < threads; i++) pthread_join(ids[i], NULL);
  CHECK_EQ(total, pages);
  const struct drm_mlaccel_dev_query q = query(races[0].drm);
  CHECK_EQ(host ? q.user_host_bytes : q.user_device_bytes, pages * page);
  for (int i = 0; i < threads; i++) close(races[i].drm);
}

static void race_as_somebody(void* argument) {
  const struct Device* d = argument;
  const int watcher = device_open(d);
  for (int round = 0; round < 10 && !case_failed(); round++) {
    race_to(d, 203, true);
    race_to(d, 101, false);
    CHECK(EVENTUALLY(query(watcher).user_host_bytes == 0 && query(watcher).user_device_bytes == 0));
  }
}

static void a_limit_raced_for_is_reached_exactly(void) {
  struct Device d;
  device_setup(&d);
  REQUIRE_OK(set_limit(d.control, 0, somebody, 203 * page));
  REQUIRE_OK(set_limit(d.control, d.number, somebody, 101 * page));
  CHECK_OK(wait_child(fork_as(somebody, race_as_somebody, &d), 100));
  device_remove(&d);
}

static void take_and_stay(void* argument) {
  const struct Device* d = argument;
  const int drm = device_open(d);
  uint32_t context, handle;
  int error;
  struct ClientQueue q;
  REQUIRE_OK(new_context(drm, &context));
  REQUIRE_OK(client_queue_try_open(&q, drm, context, 64, -1));
  REQUIRE_OK(host_bo(drm, mebibyte, &handle));
  CHECK_EQ(take_device_pages(drm, context, &error), 64);
  raise(SIGKILL);
}

static void everything_is_returned_when_a_client_is_killed(void) {
  struct Device d;
  device_add(&d, -1, &(struct DeviceOptions){.memory_bytes = 64 * page});
  const int drm = device_open(&d);
  for (int round = 0; round < 20 && !case_failed(); round++) {
    CHECK_EQ(wait_child(fork_child(take_and_stay, &d), 60), 128 + SIGKILL);
    CHECK(EVENTUALLY(query(drm).user_host_bytes == 0 && query(drm).memory_used == 0));
  }
  CHECK_EQ(sysfs_number(&d, "clients"), 1);
  CHECK_EQ(sysfs_number(&d, "queues"), 0);
  device_remove(&d);
}

// ---- who pays

struct Resident {
  struct Device* d;
  int sockets[2];
};

static void live_in_a_namespace(void* argument) {
  const struct Resident* r = argument;
  struct ClientQueue q;
  uint32_t context;
  REQUIRE_OK(unshare(CLONE_NEWUSER));
  tell(r->sockets[1], 'm');
  REQUIRE(hear(r->sockets[1]) == 'm');
  REQUIRE_OK(setresuid(5, 5, 5));
  const int drm = device_open(r->d);
  REQUIRE_OK(new_context(drm, &context));
  REQUIRE_OK(client_queue_try_open(&q, drm, context, 8, -1));
  REQUIRE_OK(send_fd(r->sockets[1], q.fd));
  REQUIRE(hear(r->sockets[1]) == 'e');
}

// A request to free memory names who pays, so the worker must know a queue by that.
static void who_lives_in_a_user_namespace_is_told_with_who_pays(void) {
  struct Device d;
  struct Resident r = {.d = &d};
  struct mlaccel_queue_map map;
  char path[64], ids[64];
  device_setup(&d);
  socket_pair(r.sockets);
  const pid_t child = fork_as(somebody, live_in_a_namespace, &r);
  REQUIRE(hear(r.sockets[0]) == 'm');
  snprintf(path, sizeof path, "/proc/%d/uid_map", child);
  snprintf(ids, sizeof ids, "0 %d 1\n5 100005 1\n", somebody);
  REQUIRE_OK(write_text(path, ids));
  tell(r.sockets[0], 'm');
  const int fd = REQUIRE_FD(receive_fd(r.sockets[0]));
  CHECK_OK(queue_map(d.worker, fd, &map));
  CHECK_EQ(map.uid, 100005);
  CHECK_EQ(map.payer, somebody);
  close(fd);
  tell(r.sockets[0], 'e');
  CHECK_OK(wait_child(child, 20));
  device_remove(&d);
}

static const struct Case cases[] = {
    {"a_users_host_limit_is_a_share_of_the_machines_memory", a_users_host_limit_is_a_share_of_the_machines_memory, 0},
    {"host_memory_is_limited_per_user", host_memory_is_limited_per_user, 0},
    {"small_buffers_take_no_huge_pages", small_buffers_take_no_huge_pages, 0},
    {"who_lives_in_a_user_namespace_is_told_with_who_pays", who_lives_in_a_user_namespace_is_told_with_who_pays, 0},
    {"host_limits_span_devices", host_limits_span_devices, 0},
    {"a_queue_is_charged_as_long_as_its_pages_are_there", a_queue_is_charged_as_long_as_its_pages_are_there, 0},
    {"a_limit_below_what_is_held_takes_nothing_away", a_limit_below_what_is_held_takes_nothing_away, 0},
    {"device_limits_are_exact_on_each_level", device_limits_are_exact_on_each_level, 0},
    {"device_memory_is_limited_per_user", device_memory_is_limited_per_user, 0},
    {"who_opened_a_file_pays_whoever_uses_it", who_opened_a_file_pays_whoever_uses_it, 0},
    {"host_quotas_hold_under_concurrency", host_quotas_hold_under_concurrency, 240},
    {"device_quotas_hold_under_concurrency", device_quotas_hold_under_concurrency, 240},
    {"a_limit_raced_for_is_reached_exactly", a_limit_raced_for_is_reached_exactly, 0},
    {"everything_is_returned_when_a_client_is_killed", everything_is_returned_when_a_client_is_killed, 0},
};

int main(int argc, char** argv) { return RUN_CASES(argc, argv, cases); }
