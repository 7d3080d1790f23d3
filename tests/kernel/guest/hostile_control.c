// The control node: one holder, of the right user; with it goes everything that it registered.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/client_queue.h"
#include "support/device.h"
#include "support/faults.h"
#include "support/process.h"
#include "support/tap.h"
#include "support/worker_queue.h"

enum { somebody = 4711 };

static int open_now(int flags) {
  const int fd = open(MLACCEL_CONTROL_NODE, flags | O_CLOEXEC);
  return fd < 0 ? -errno : fd;
}

static void try_as_a_second_daemon(void* argument) {
  (void)argument;
  CHECK_ERR(open_now(O_RDWR), EBUSY);
  CHECK_ERR(open_now(O_RDONLY), EBUSY);
}

static void a_second_daemon_is_refused(void) {
  struct Device d;
  device_setup(&d);
  CHECK_ERR(open_now(O_RDWR), EBUSY);
  CHECK_ERR(open_now(O_RDONLY), EBUSY);
  CHECK_ERR(open_now(O_WRONLY), EBUSY);
  CHECK_EQ(wait_child(fork_child(try_as_a_second_daemon, NULL), 60), 0);
  // Who was refused has changed nothing: the first one goes on.
  struct mlaccel_features features = {.abi = 0};
  CHECK_OK(get_features(d.control, &features));
  CHECK_EQ(features.abi, MLACCEL_ABI);
  const int again = dup(d.control);
  close(d.control);
  CHECK_ERR(open_now(O_RDWR), EBUSY);
  CHECK_OK(get_features(again, &features));
  close(again);
  const int next = REQUIRE_FD(open_now(O_RDWR));
  close(next);
}

static void try_without_privileges(void* argument) {
  const int* control = argument;
  CHECK_ERR(open_now(O_RDWR), EACCES);
  CHECK_ERR(open_now(O_RDONLY), EACCES);
  // A descriptor that was handed on is as good as its holder's.
  struct mlaccel_features features = {.abi = 0};
  if (*control >= 0) CHECK_OK(get_features(*control, &features));
}

static void other_users_may_not_open_it(void) {
  struct stat status;
  int control = -1;
  REQUIRE_OK(stat(MLACCEL_CONTROL_NODE, &status));
  CHECK_EQ(status.st_mode & 07777, 0600);
  CHECK_EQ(status.st_uid, 0);
  CHECK_EQ(wait_child(fork_as(somebody, try_without_privileges, &control), 60), 0);
  control = REQUIRE_FD(control_open());
  CHECK_EQ(wait_child(fork_as(somebody, try_without_privileges, &control), 60), 0);
  close(control);
}

// Everything that a client and a worker of a device see when it was unregistered.
static void check_gone(const struct Device* d, struct ClientQueue* q) {
  struct drm_mlaccel_dev_query query = {.flags = 0};
  struct mlaccel_worker_info info = {.device = 0};
  uint32_t handle;
  const int late = device_try_open(d);
  CHECK(late == -ENODEV || late == -ENOENT);
  CHECK_ERR(dev_query(q->drm, &query), ENODEV);
  CHECK_ERR(host_bo(q->drm, 4096, &handle), ENODEV);
  CHECK_ERR(ring(q), ENODEV);
  CHECK_ERR(wait_within(q, q->next, 1), ENODEV);
  CHECK_EQ(queue_state(q), MLRING_STATE_LOST);
  CHECK_ERR(worker_info(d->worker, &info), ENODEV);
  char text[64];
  CHECK(!sysfs_text(d, "name", text, sizeof text));
  CHECK(!debugfs_text(d, "clients", text, sizeof text));
}

static void what_the_holder_registered_goes_when_it_closes(void) {
  struct Device first, second;
  struct ClientQueue queues[2];
  device_setup(&first);
  device_add(&second, first.control, &(struct DeviceOptions){.memory_bytes = 0});
  client_queue_open(&queues[0], device_open(&first), 8);
  client_queue_open(&queues[1], device_open(&second), 8);
  submit_nops(&queues[0], 1);
  close(first.control);
  check_gone(&first, &queues[0]);
  check_gone(&second, &queues[1]);
  // The names are free again, and numbers are new.
  struct Device next;
  device_setup(&next);
  CHECK_AS(next.number, >, second.number);
  const int drm = device_open(&next);
  struct drm_mlaccel_dev_query query = {.flags = 0};
  CHECK_OK(dev_query(drm, &query));
  CHECK_EQ(query.device, next.number);
  check_gone(&first, &queues[0]);
  device_remove(&next);
}

struct Holder {
  int socket;
};

static void hold_until_killed(void* argument) {
  const struct Holder* h = argument;
  struct Device d;
  device_setup(&d);
  REQUIRE_OK(send_fd(h->socket, device_open(&d)));
  REQUIRE_OK(send_fd(h->socket, d.worker));
  pause();
}

static void a_killed_daemon_leaves_the_node_free(void) {
  for (int i = 0; i < 3; i++) {
    int sockets[2];
    socket_pair(sockets);
    struct Holder holder = {.socket = sockets[1]};
    const pid_t pid = fork_child(hold_until_killed, &holder);
    const int drm = REQUIRE_FD(receive_fd(sockets[0]));
    const int worker = REQUIRE_FD(receive_fd(sockets[0]));
    CHECK_ERR(open_now(O_RDWR), EBUSY);
    kill(pid, SIGKILL);
    CHECK_EQ(wait_child(pid, 60), 128 + SIGKILL);
    struct drm_mlaccel_dev_query query = {.flags = 0};
    struct mlaccel_worker_info info = {.device = 0};
    CHECK_ERR(dev_query(drm, &query), ENODEV);
    CHECK_ERR(worker_info(worker, &info), ENODEV);
    const int next = REQUIRE_FD(open_now(O_RDWR));
    close(next);
    close(drm);
    close(worker);
    close(sockets[0]);
    close(sockets[1]);
  }
}

static uint64_t limit_of(const struct Device* d, bool host) {
  struct drm_mlaccel_dev_query query = {.flags = 0};
  const int drm = device_open(d);
  REQUIRE_OK(dev_query(drm, &query));
  close(drm);
  return host ? query.user_host_limit : query.user_device_limit;
}

static void limits_last_as_long_as_the_holder(void) {
  struct Device d;
  device_setup(&d);
  const uint64_t usual = limit_of(&d, true);
  const int drm = device_open(&d);
  uint32_t handle, more;
  REQUIRE_OK(host_bo(drm, 2 << 20, &handle));
  CHECK_OK(set_limit(d.control, 0, getuid(), 1 << 20));
  CHECK_OK(set_limit(d.control, d.number, getuid(), 1 << 20));
  CHECK_EQ(limit_of(&d, true), 1 << 20);
  CHECK_EQ(limit_of(&d, false), 1 << 20);
  // What is held stays, and there is no more.
  CHECK_ERR(host_bo(drm, 4096, &more), EDQUOT);
  CHECK_OK(gem_close(drm, handle));
  CHECK_OK(host_bo(drm, 1 << 20, &handle));
  CHECK_ERR(host_bo(drm, 4096, &more), EDQUOT);
  for (uint32_t uid = 5000; uid < 5050; uid++) CHECK_OK(set_limit(d.control, 0, uid, uid));
  close(drm);
  device_remove(&d);
  device_setup(&d);
  CHECK_EQ(limit_of(&d, true), usual);
  device_remove(&d);
}

// The worker's answer to a lowered limit: memory that can't come back stays where it is, whole.
static void memory_restored_under_a_lowered_limit_is_not_lost(void) {
  struct Device d;
  struct drm_mlaccel_bo_info info;
  struct mlaccel_bo_look look;
  uint32_t context, evicted, rest;
  int dmabuf = -1;
  device_setup(&d);
  const int drm = device_open(&d);
  REQUIRE_OK(new_context(drm, &context));
  REQUIRE_OK(device_bo(drm, context, 48 << 20, 0, &evicted));
  REQUIRE_OK(prime_export(drm, evicted, &dmabuf));
  REQUIRE_OK(bo_look(d.worker, dmabuf, &look));
  CHECK_OK(bo_evict(d.worker, look.bo));
  REQUIRE_OK(device_bo(drm, context, 32 << 20, 0, &rest));
  // Host bytes that are held already, above the limit; and no range that fits.
  CHECK_OK(set_limit(d.control, 0, getuid(), 1 << 20));
  const int result = bo_restore(d.worker, look.bo, NULL);
  CHECK(result == -ENOSPC || result == -EDQUOT);
  CHECK_OK(bo_info(drm, evicted, &info));
  CHECK_EQ(info.state, MLACCEL_BO_EVICTED);
  CHECK_OK(gem_close(drm, rest));
  CHECK_OK(bo_restore(d.worker, look.bo, NULL));
  CHECK_OK(bo_info(drm, evicted, &info));
  CHECK_EQ(info.state, MLACCEL_BO_RESIDENT);
  // What its worker takes away is never refused.
  CHECK_OK(bo_evict(d.worker, look.bo));
  close(dmabuf);
  close(drm);
  CHECK_EQ(memory_used(&d), 0);
  device_remove(&d);
}

static const struct Case cases[] = {
    {"a_second_daemon_is_refused", a_second_daemon_is_refused, 0},
    {"other_users_may_not_open_it", other_users_may_not_open_it, 0},
    {"what_the_holder_registered_goes_when_it_closes", what_the_holder_registered_goes_when_it_closes, 0},
    {"a_killed_daemon_leaves_the_node_free", a_killed_daemon_leaves_the_node_free, 0},
    {"limits_last_as_long_as_the_holder", limits_last_as_long_as_the_holder, 0},
    {"memory_restored_under_a_lowered_limit_is_not_lost", memory_restored_under_a_lowered_limit_is_not_lost, 0},
};

int main(int argc, char** argv) { return RUN_CASES(argc, argv, cases); }
