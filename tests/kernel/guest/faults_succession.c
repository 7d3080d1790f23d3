// The next worker starts while the last close of the old one's file is still under way, which takes its time.
#include <errno.h>
#include <unistd.h>

#include "support/device.h"
#include "support/faults.h"
#include "support/process.h"
#include "support/tap.h"

static const uint64_t page = 4096;
enum { pieces = 12000 };

static void* close_it(void* fd) {
  close(*(const int*)fd);
  return NULL;
}

static void* recover(void* d) {
  device_recover(d);
  return NULL;
}

static void the_next_worker_finds_nothing_of_the_last(void) {
  struct Device d;
  uint32_t context, handle = 0;
  int dmabuf;
  device_setup(&d);
  const int drm = device_open(&d);
  REQUIRE_OK(new_context(drm, &context));
  for (int i = 0; i < pieces; i++) REQUIRE_OK(device_bo(drm, context, page, 0, &handle));
  REQUIRE_OK(prime_export(drm, handle, &dmabuf));

  const pthread_t closer = start_thread(close_it, &d.worker);
  struct mlaccel_dev_start next = {.device = d.number, .fd = -1};
  int started;
  do started = dev_start(d.control, &next);
  while (started == -EBUSY);
  REQUIRE_OK(started);
  struct mlaccel_bo_look look = {.fd = -1};
  struct mlaccel_worker_info info = {.pad = 0};
  CHECK_ERR(bo_look(next.fd, dmabuf, &look), ENODEV);
  CHECK_OK(worker_info(next.fd, &info));
  CHECK_EQ(info.memory_used, 0);
  pthread_join(closer, NULL);
  close(dmabuf);
  close(drm);
  d.worker = next.fd;
  device_remove(&d);
}

// Its memory is free when clients see it: theirs fits at once.
static void the_next_worker_begins_with_all_its_memory(void) {
  struct Device d;
  uint32_t context, handle;
  device_add(&d, -1, &(struct DeviceOptions){.memory_bytes = 256 << 20});
  const int drm = device_open(&d);
  REQUIRE_OK(new_context(drm, &context));
  for (int i = 0; i < 60000; i++) REQUIRE_OK(device_bo(drm, context, page, 0, &handle));
  const pthread_t recoverer = start_thread(recover, &d);
  struct drm_mlaccel_dev_query query = {.flags = 0};
  do REQUIRE_OK(dev_query(drm, &query));
  while (query.generation == 1);
  CHECK_EQ(query.memory_used, 0);
  pthread_join(recoverer, NULL);
  close(drm);
  device_remove(&d);
}

static const struct Case cases[] = {
    {"the_next_worker_finds_nothing_of_the_last", the_next_worker_finds_nothing_of_the_last, 300},
    {"the_next_worker_begins_with_all_its_memory", the_next_worker_begins_with_all_its_memory, 300},
};

int main(int argc, char** argv) { return RUN_CASES(argc, argv, cases); }
