// What the kernel tells of a client and a device: fdinfo, sysfs, debugfs. It grows with what is completed, and with
// nothing else.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "support/client_queue.h"
#include "support/device.h"
#include "support/process.h"
#include "support/tap.h"
#include "support/worker_queue.h"

static const uint64_t kibibyte = 1024;

static uint64_t told(int fd, const char* key) {
  uint64_t number = 0;
  if (!fdinfo_number(fd, key, &number)) {
    note("fdinfo says nothing of %s", key);
    end_case();
  }
  return number;
}

static void check_unit(int fd, const char* key, const char* unit) {
  char text[64];
  REQUIRE(fdinfo_text(fd, key, text, sizeof text));
  const char* space = strchr(text, ' ');
  CHECK(space != NULL && strcmp(space + 1, unit) == 0);
}

static void fdinfo_names_the_client(void) {
  struct Device d;
  char text[64];
  struct drm_mlaccel_dev_query query = {.flags = 0};
  device_setup(&d);
  const int drm = device_open(&d), other = device_open(&d);
  REQUIRE(fdinfo_text(drm, "drm-driver", text, sizeof text));
  CHECK(strcmp(text, "mlaccel") == 0);
  REQUIRE_OK(dev_query(drm, &query));
  CHECK_EQ(told(drm, "drm-client-id"), query.client);
  CHECK_AS(told(other, "drm-client-id"), !=, query.client);
  CHECK_EQ(told(drm, "drm-engine-compute"), 0);
  check_unit(drm, "drm-engine-compute", "ns");
  CHECK_EQ(told(drm, "mlaccel-completed"), 0);
  static const char* const sizes[] = {"drm-total-host", "drm-resident-host", "drm-total-device", "drm-resident-device"};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    CHECK_EQ(told(drm, sizes[i]), 0);
    check_unit(drm, sizes[i], "KiB");
  }
  device_remove(&d);
}

// A client with several queues against a worker that answers; fdinfo read all the time.
struct Reader {
  int drm;
  bool stop;
  uint64_t reads;
};

static void* read_all_the_time(void* argument) {
  struct Reader* r = argument;
  uint64_t completed = 0, busy = 0;
  while (!__atomic_load_n(&r->stop, __ATOMIC_SEQ_CST)) {
    const uint64_t now_completed = told(r->drm, "mlaccel-completed"), now_busy = told(r->drm, "drm-engine-compute");
    if (!CHECK_AS(now_completed, >=, completed) || !CHECK_AS(now_busy, >=, busy)) break;
    completed = now_completed;
    busy = now_busy;
    r->reads++;
  }
  return NULL;
}

static void fdinfo_grows_and_equals_completions(void) {
  enum { queues = 4 };
  struct Device d;
  struct ClientQueue q[queues];
  uint64_t total = 0, random = test_seed();
  device_setup(&d);
  struct FakeWorker worker = {.on_free = NULL};
  fake_worker_start(&worker, d.worker, d.generation);
  const int drm = device_open(&d), idle = device_open(&d);
  for (int i = 0; i < queues; i++) {
    client_queue_open(&q[i], drm, 32);
    fake_worker_add(&worker, q[i].fd);
  }
  struct Reader reader = {.drm = drm};
  pthread_t thread = start_thread(read_all_the_time, &reader);
  const uint64_t rounds = test_rounds_within(500, 5000);
  for (uint64_t round = 0; round < rounds && !case_failed(); round++) {
    struct ClientQueue* one = &q[random_below(&random, queues)];
    const uint32_t count = 1 + (uint32_t)random_below(&random, client_queue_room(one));
    const uint64_t last = submit_nops(one, count);
    CHECK_OK(ring_if_parked(one));
    CHECK_OK(wait_within(one, last, 20));
    CHECK_EQ(read_all_completions(one), count);
    total += count;
    // The fake worker is busy for as many ns as it completes.
    CHECK_EQ(told(drm, "mlaccel-completed"), total);
    CHECK_EQ(told(drm, "drm-engine-compute"), total);
  }
  __atomic_store_n(&reader.stop, true, __ATOMIC_SEQ_CST);
  pthread_join(thread, NULL);
  note("%ju descriptors, %ju concurrent reads", (uintmax_t)total, (uintmax_t)reader.reads);
  CHECK_AS(reader.reads, >, 0);
  CHECK_EQ(told(idle, "mlaccel-completed"), 0);
  // What queues have done stays when they go.
  for (int i = 0; i < queues; i++) client_queue_close(&q[i]);
  CHECK_EQ(told(drm, "mlaccel-completed"), total);
  CHECK_EQ(told(drm, "drm-engine-compute"), total);
  fake_worker_stop(&worker);
  CHECK_EQ(told(drm, "mlaccel-completed"), total);
  device_remove(&d);
}

static void fdinfo_counts_what_nobody_said(void) {
  struct Device d;
  struct ClientQueue q;
  struct WorkerQueue w;
  device_setup(&d);
  const int drm = device_open(&d);
  client_queue_open(&q, drm, 8);
  worker_queue_map(&w, d.worker, d.generation, q.fd);
  submit_nops(&q, 5);
  CHECK_EQ(take_descriptors(&w, UINT32_MAX), 5);
  CHECK_EQ(told(drm, "mlaccel-completed"), 0);
  publish_completions(&w, 3, 1000);
  CHECK_EQ(told(drm, "mlaccel-completed"), 3);
  CHECK_EQ(told(drm, "drm-engine-compute"), 1000);
  // Time that goes backwards is not believed, and ends nothing.
  w.busy = 0;
  publish_completions(&w, 1, 10);
  CHECK_EQ(told(drm, "mlaccel-completed"), 4);
  CHECK_EQ(told(drm, "drm-engine-compute"), 1000);
  CHECK_EQ(queue_state(&q), MLRING_STATE_ACTIVE);
  // The end looks once more.
  publish_completions(&w, 1, 0);
  CHECK_OK(dev_stop(d.control, d.number));
  CHECK_EQ(told(drm, "mlaccel-completed"), 5);
  device_remove(&d);
}

static void fdinfo_tells_memory(void) {
  struct Device d;
  struct ClientQueue q;
  uint32_t host, memory;
  struct drm_mlaccel_bo_info info;
  struct mlaccel_bo_look look;
  int dmabuf;
  device_setup(&d);
  const int drm = device_open(&d);
  client_queue_open(&q, drm, 8);
  const uint64_t queue_kib = q.layout.bytes / kibibyte;
  CHECK_EQ(told(drm, "drm-total-host"), queue_kib);
  REQUIRE_OK(host_bo(drm, 64 * kibibyte, &host));
  CHECK_EQ(told(drm, "drm-total-host"), queue_kib + 64);
  CHECK_AS(told(drm, "drm-resident-host"), <=, queue_kib + 64);
  REQUIRE_OK(bo_info(drm, host, &info));
  char* at = mmap(NULL, 64 * kibibyte, PROT_READ | PROT_WRITE, MAP_SHARED, drm, (off_t)info.map_offset);
  REQUIRE(at != MAP_FAILED);
  memset(at, 1, 64 * kibibyte);
  CHECK_EQ(told(drm, "drm-resident-host"), queue_kib + 64);

  REQUIRE_OK(device_bo(drm, q.context, 256 * kibibyte, 0, &memory));
  CHECK_EQ(told(drm, "drm-total-device"), 256);
  CHECK_EQ(told(drm, "drm-resident-device"), 256);
  REQUIRE_OK(prime_export(drm, memory, &dmabuf));
  REQUIRE_OK(bo_look(d.worker, dmabuf, &look));
  CHECK_OK(bo_evict(d.worker, look.bo));
  CHECK_EQ(told(drm, "drm-total-device"), 256);
  CHECK_EQ(told(drm, "drm-resident-device"), 0);
  CHECK_OK(bo_restore(d.worker, look.bo, NULL));
  CHECK_EQ(told(drm, "drm-resident-device"), 256);
  close(dmabuf);
  CHECK_OK(gem_close(drm, memory));
  CHECK(EVENTUALLY(told(drm, "drm-total-device") == 0));
  munmap(at, 64 * kibibyte);
  CHECK_OK(gem_close(drm, host));
  CHECK_EQ(told(drm, "drm-total-host"), queue_kib);
  device_remove(&d);
}

static void check_attribute(const struct Device* d, const char* attribute, const char* wanted) {
  char text[128];
  REQUIRE(sysfs_text(d, attribute, text, sizeof text));
  if (!CHECK(strcmp(text, wanted) == 0)) note("%s is %s, not %s", attribute, text, wanted);
}

static void sysfs_tells_of_the_device(void) {
  struct Device d;
  struct ClientQueue q;
  uint32_t memory;
  device_add(&d, -1, &(struct DeviceOptions){.memory_bytes = 1 << 20, .stopped = true});
  check_attribute(&d, "name", d.name);
  check_attribute(&d, "backend", "fake");
  check_attribute(&d, "generation", "0");
  check_attribute(&d, "state", "stopped");
  check_attribute(&d, "memory_bytes", "1048576");
  check_attribute(&d, "memory_used", "0");
  check_attribute(&d, "clients", "0");
  check_attribute(&d, "queues", "0");
  device_start(&d);
  check_attribute(&d, "generation", "1");
  check_attribute(&d, "state", "running");
  const int drm = device_open(&d);
  check_attribute(&d, "clients", "1");
  client_queue_open(&q, drm, 8);
  check_attribute(&d, "queues", "1");
  REQUIRE_OK(device_bo(drm, q.context, 8192, 0, &memory));
  check_attribute(&d, "memory_used", "8192");
  device_recover(&d);
  check_attribute(&d, "generation", "2");
  check_attribute(&d, "queues", "0");
  check_attribute(&d, "memory_used", "0");
  client_queue_unmap(&q);
  close(drm);
  CHECK(EVENTUALLY(sysfs_number(&d, "clients") == 0));
  device_remove(&d);
}

static void debugfs_tells_of_clients_queues_and_memory(void) {
  static const char* const files[] = {"clients", "queues", "memory"};
  struct Device d;
  struct ClientQueue q;
  uint32_t memory;
  char text[8192], wanted[32];
  device_setup(&d);
  const int drm = device_open(&d);
  client_queue_open(&q, drm, 8);
  submit_nops(&q, 3);
  REQUIRE_OK(device_bo(drm, q.context, 8192, 0, &memory));
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    if (access("/sys/kernel/debug/mlaccel", F_OK) != 0) skip("no debugfs");
    REQUIRE(debugfs_text(&d, files[i], text, sizeof text));
    CHECK_AS(strlen(text), >, 0u);
    char* rest = NULL;
    for (char* one = strtok_r(text, "\n", &rest); one != NULL; one = strtok_r(NULL, "\n", &rest))
      note("%s: %s", files[i], one);
  }
  REQUIRE(debugfs_text(&d, "clients", text, sizeof text));
  snprintf(wanted, sizeof wanted, "%d", getpid());
  CHECK(strstr(text, wanted) != NULL);
  device_remove(&d);
  CHECK(!debugfs_text(&d, "clients", text, sizeof text));
}

static const struct Case cases[] = {
    {"fdinfo_names_the_client", fdinfo_names_the_client, 0},
    {"fdinfo_grows_and_equals_completions", fdinfo_grows_and_equals_completions, 0},
    {"fdinfo_counts_what_nobody_said", fdinfo_counts_what_nobody_said, 0},
    {"fdinfo_tells_memory", fdinfo_tells_memory, 0},
    {"sysfs_tells_of_the_device", sysfs_tells_of_the_device, 0},
    {"debugfs_tells_of_clients_queues_and_memory", debugfs_tells_of_clients_queues_and_memory, 0},
};

int main(int argc, char** argv) { return RUN_CASES(argc, argv, cases); }
