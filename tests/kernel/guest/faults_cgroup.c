// A client's control group that is full.
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/device.h"
#include "support/process.h"
#include "support/tap.h"

static const uint64_t bytes = 12 << 20;  // a third more than the group holds
static const char* const group = "/sys/fs/cgroup/mlaccel-full";

static void in_group(const char* file, const char* text) {
  char path[128];
  snprintf(path, sizeof path, "%s/%s", group, file);
  REQUIRE_OK(write_text(path, text));
}

static void touch_all(void* argument) {
  const int dmabuf = *(const int*)argument;
  char* at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, dmabuf, 0);
  REQUIRE(at != MAP_FAILED);
  for (uint64_t i = 0; i < bytes; i += 4096) at[i] = 1;
}

static void make_group(void) {
  (void)write_text("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
  REQUIRE_OK(mkdir(group, 0755));
  in_group("memory.max", "8388608");
}

// It has nobody left who could be killed for it: the pages are then the worker's, which is not held up.
static void a_worker_touches_memory_of_a_full_group(void) {
  struct Device d;
  uint32_t handle;
  int dmabuf;
  make_group();
  device_setup(&d);
  in_group("cgroup.procs", "0");
  const int drm = device_open(&d);
  REQUIRE_OK(write_text("/sys/fs/cgroup/cgroup.procs", "0"));
  REQUIRE_OK(host_bo(drm, bytes, &handle));
  REQUIRE_OK(prime_export(drm, handle, &dmabuf));
  const pid_t worker = fork_child(touch_all, &dmabuf);
  CHECK_OK(wait_child(worker, 60));
  close(dmabuf);
  device_remove(&d);
  close(drm);
  CHECK(EVENTUALLY(rmdir(group) == 0));
}

struct Client {
  const struct Device* device;
  int socket;
};

static void live_in_group(void* argument) {
  const struct Client* c = argument;
  uint32_t handle;
  int dmabuf;
  in_group("cgroup.procs", "0");
  const int drm = device_open(c->device);
  REQUIRE_OK(host_bo(drm, bytes, &handle));
  REQUIRE_OK(prime_export(drm, handle, &dmabuf));
  REQUIRE_OK(send_fd(c->socket, dmabuf));
  hear(c->socket);
}

// A client that lives is killed for what is touched of its memory, as for what it touches itself.
static void a_group_is_not_exceeded_at_the_workers_expense(void) {
  struct Device d;
  int sockets[2];
  make_group();
  device_setup(&d);
  socket_pair(sockets);
  const pid_t client = fork_child(live_in_group, &(struct Client){&d, sockets[1]});
  int dmabuf = REQUIRE_FD(receive_fd(sockets[0]));
  const pid_t worker = fork_child(touch_all, &dmabuf);
  CHECK_OK(wait_child(worker, 60));
  CHECK_EQ(wait_child(client, 1), 128 + SIGKILL);
  close(dmabuf);
  device_remove(&d);
  CHECK(EVENTUALLY(rmdir(group) == 0));
}

static const struct Case cases[] = {
    {"a_worker_touches_memory_of_a_full_group", a_worker_touches_memory_of_a_full_group, 0},
    {"a_group_is_not_exceeded_at_the_workers_expense", a_group_is_not_exceeded_at_the_workers_expense, 0},
};

int main(int argc, char** argv) { return RUN_CASES(argc, argv, cases); }
