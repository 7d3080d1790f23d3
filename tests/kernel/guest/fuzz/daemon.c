// Calls of the control node and of workers, who may be killed at any time.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fuzz/fuzz.h"
#include "support/device.h"
#include "support/process.h"
#include "support/tap.h"

int open_control(struct Fuzzer* f) {
  const int fd = open(MLACCEL_CONTROL_NODE, O_RDWR | O_CLOEXEC);
  if (fd < 0) return -errno;
  keep_fd(f, CONTROL_FD, fd);
  return 0;
}

// With it every device goes, so it is rare.
static int close_control(struct Fuzzer* f) {
  const int fd = take_fd(f, CONTROL_FD);
  return fd < 0 ? -EBADF : close(fd) < 0 ? -errno : 0;
}

static int features(struct Fuzzer* f) {
  struct mlaccel_features a = {.abi = 0};
  return fuzz_call(f, pick_fd(f, CONTROL_FD), MLACCEL_GET_FEATURES, &a);
}

int register_device(struct Fuzzer* f) {
  struct mlaccel_dev_register a = {.memory_bytes = (1 + below(f, 8)) << 18, .backend = "fuzz"};
  snprintf(a.name, sizeof a.name, "fuzz%u", chance(f, 95) ? device_of(f) : (unsigned)below(f, 6));
  if (chance(f, 30)) a.user_limit = a.memory_bytes / 2;
  if (chance(f, 30)) a.client_limit = a.memory_bytes / 4;
  const int result = fuzz_call(f, pick_fd(f, CONTROL_FD), MLACCEL_DEV_REGISTER, &a);
  if (result != 0) return result;
  keep_number(f, DEVICE, a.device);
  for (int i = 0; i < remembered; i++) keep_number(f, MINOR, a.minor);
  return 0;
}

static int unregister_device(struct Fuzzer* f) {
  struct mlaccel_dev a = {.device = (uint32_t)pick_number(f, DEVICE)};
  return fuzz_call(f, pick_fd(f, CONTROL_FD), MLACCEL_DEV_UNREGISTER, &a);
}

static int start(struct Fuzzer* f, unsigned long request) {
  struct mlaccel_dev_start a = {.device = (uint32_t)pick_number(f, DEVICE), .fd = -1};
  const int result = fuzz_call(f, pick_fd(f, CONTROL_FD), request, &a);
  if (result != 0) return result;
  keep_number(f, GENERATION, a.generation);
  // Nobody may sleep in it.
  fcntl(a.fd, F_SETFL, O_NONBLOCK);
  keep_fd(f, WORKER_FD, a.fd);
  return 0;
}

int start_device(struct Fuzzer* f) { return start(f, MLACCEL_DEV_START); }

static int recover_device(struct Fuzzer* f) { return start(f, MLACCEL_DEV_RECOVER); }

static int stop_device(struct Fuzzer* f) {
  struct mlaccel_dev a = {.device = (uint32_t)pick_number(f, DEVICE)};
  return fuzz_call(f, pick_fd(f, CONTROL_FD), MLACCEL_DEV_STOP, &a);
}

static int limit(struct Fuzzer* f) {
  struct mlaccel_set_limit a = {.device = chance(f, 70) ? (uint32_t)pick_number(f, DEVICE) : 0,
                                .uid = (uint32_t)below(f, 3),
                                .bytes = chance(f, 85) ? 64u << 20 : hostile(f)};
  return fuzz_call(f, pick_fd(f, CONTROL_FD), MLACCEL_SET_LIMIT, &a);
}

// ---- workers

static int info(struct Fuzzer* f) {
  struct mlaccel_worker_info a = {.device = 0};
  return fuzz_call(f, pick_fd(f, WORKER_FD), MLACCEL_WORKER_INFO, &a);
}

int map_queue(struct Fuzzer* f) {
  struct mlaccel_queue_map a = {.fd = pick_fd(f, QUEUE_FD)};
  const int result = fuzz_call(f, pick_fd(f, WORKER_FD), MLACCEL_QUEUE_MAP, &a);
  if (result != 0) return result;
  keep_number(f, QUEUE, a.queue);
  keep_number(f, QUEUE_OFFSET, a.map_offset);
  return 0;
}

static int unmap_queue(struct Fuzzer* f) {
  struct mlaccel_queue_name a = {.queue = (uint32_t)pick_number(f, QUEUE)};
  return fuzz_call(f, pick_fd(f, WORKER_FD), MLACCEL_QUEUE_UNMAP, &a);
}

static int end_queue(struct Fuzzer* f) {
  struct mlaccel_queue_end a = {.queue = (uint32_t)pick_number(f, QUEUE),
                                .state = chance(f, 50) ? MLRING_STATE_CLOSED : MLRING_STATE_FAULTED};
  return fuzz_call(f, pick_fd(f, WORKER_FD), MLACCEL_QUEUE_END, &a);
}

static int complete_work(struct Fuzzer* f) {
  struct mlaccel_complete a = {.queue = (uint32_t)pick_number(f, QUEUE),
                               .generation = (uint32_t)pick_number(f, GENERATION),
                               .flags = (uint32_t)below(f, 2)};
  return fuzz_call(f, pick_fd(f, WORKER_FD), MLACCEL_COMPLETE, &a);
}

static int look_at_buffer(struct Fuzzer* f) {
  struct mlaccel_bo_look a = {.fd = pick_fd(f, DMABUF_FD)};
  const int result = fuzz_call(f, pick_fd(f, WORKER_FD), MLACCEL_BO_LOOK, &a);
  if (result == 0 && a.bo != 0) keep_number(f, MEMORY, a.bo);
  return result;
}

static int create_for_queue(struct Fuzzer* f) {
  struct mlaccel_bo_create_for a = {.queue = (uint32_t)pick_number(f, QUEUE),
                                    .flags = (uint32_t)below(f, 2),
                                    .size = (1 + below(f, 64)) << 12,
                                    .alignment = chance(f, 70) ? 0 : 1ull << below(f, 64)};
  const int result = fuzz_call(f, pick_fd(f, WORKER_FD), MLACCEL_BO_CREATE_FOR, &a);
  if (result == 0) keep_number(f, MEMORY, a.bo);
  return result;
}

static int with_memory(struct Fuzzer* f, unsigned long request) {
  struct mlaccel_bo_name a = {.bo = (uint32_t)pick_number(f, MEMORY)};
  return fuzz_call(f, pick_fd(f, WORKER_FD), request, &a);
}

static int destroy_memory(struct Fuzzer* f) { return with_memory(f, MLACCEL_BO_DESTROY); }

static int evict_memory(struct Fuzzer* f) { return with_memory(f, MLACCEL_BO_EVICT); }

static int restore_memory(struct Fuzzer* f) { return with_memory(f, MLACCEL_BO_RESTORE); }

static int read_events(struct Fuzzer* f) {
  struct mlaccel_event events[8];
  const size_t bytes = chance(f, 90) ? sizeof events : (size_t)below(f, sizeof events);
  void* to = chance(f, 95) ? events : (void*)(uintptr_t)hostile(f);
  const ssize_t got = read(pick_fd(f, WORKER_FD), to, bytes);
  if (got < 0) return -errno;
  for (unsigned i = 0; to == events && i < (size_t)got / sizeof events[0]; i++) {
    if ((events[i].bits & MLACCEL_EVENT_FREE) == 0) continue;
    keep_number(f, REQUEST, events[i].request);
    if (chance(f, 50)) (void)evict_memory(f);
  }
  return 0;
}

static int answer_request(struct Fuzzer* f) {
  // The latest one, which may be waited for still.
  if (chance(f, 70)) (void)read_events(f);
  struct mlaccel_freed a = {.request = pick_number(f, REQUEST)};
  return fuzz_call(f, pick_fd(f, WORKER_FD), MLACCEL_FREED, &a);
}

static int poll_all(struct Fuzzer* f) {
  struct pollfd waits[4];
  static const enum Kind kinds[] = {WORKER_FD, NODE_FD, SYNC_FD, EVENT_FD};
  for (int i = 0; i < 4; i++) waits[i] = (struct pollfd){.fd = pick_fd(f, kinds[i]), .events = POLLIN | POLLOUT};
  return poll(waits, 4, 0) < 0 ? -errno : 0;
}

static int close_worker(struct Fuzzer* f) {
  const int fd = take_fd(f, WORKER_FD);
  return fd < 0 ? -EBADF : close(fd) < 0 ? -errno : 0;
}

// A process that has nothing but the worker's file, and is killed while it uses it.
static void be_a_worker(struct Fuzzer* f, int worker) {
  const int fd = dup2(worker, 3);
  close_range(4, ~0u, 0);
  fcntl(fd, F_SETFL, 0);
  for (unsigned i = 0; i < 100000; i++) {
    struct mlaccel_event events[4];
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    if (chance(f, 5)) (void)!read(fd, events, sizeof events);
    if (poll(&wait, 1, (int)below(f, 2)) > 0) (void)!read(fd, events, sizeof events);
    struct mlaccel_complete a = {.queue = (uint32_t)pick_number(f, QUEUE),
                                 .generation = (uint32_t)pick_number(f, GENERATION)};
    (void)complete(fd, &a);
  }
}

static int kill_a_worker(struct Fuzzer* f) {
  const int fd = take_fd(f, WORKER_FD);
  if (fd < 0) return -EBADF;
  const pid_t pid = fork();
  if (pid == 0) {
    be_a_worker(f, fd);
    _exit(0);
  }
  close(fd);
  if (pid < 0) return -errno;
  pause_ns(below(f, MILLISECONDS(3)));
  kill(pid, SIGKILL);
  pid_t gone;
  do gone = waitpid(pid, NULL, 0);
  while (gone < 0 && errno == EINTR);
  return gone == pid ? 0 : -errno;
}

static int read_observability(struct Fuzzer* f) {
  static char text[2][4096];
  struct Device d = {.minor = (uint32_t)pick_number(f, MINOR)};
  static const char* const files[] = {"clients", "queues", "memory"};
  static const char* const attributes[] = {"state", "memory_used", "queues", "clients", "generation"};
  snprintf(d.name, sizeof d.name, "fuzz%u", device_of(f));
  snprintf(d.path, sizeof d.path, f->shared->accel ? "/dev/accel/accel%u" : "/dev/dri/renderD%u", d.minor);
  const bool file = debugfs_text(&d, files[below(f, 3)], text[0], sizeof text[0]);
  const bool attribute = sysfs_text(&d, attributes[below(f, 5)], text[1], sizeof text[1]);
  return file || attribute ? 0 : -ENOENT;
}

const struct Operation daemon_operations[] = {
    {"open control", 8, open_control},
    {"close control", 1, close_control},
    {"GET_FEATURES", 5, features},
    {"DEV_REGISTER", 8, register_device},
    {"DEV_UNREGISTER", 1, unregister_device},
    {"DEV_START", 12, start_device},
    {"DEV_RECOVER", 3, recover_device},
    {"DEV_STOP", 2, stop_device},
    {"SET_LIMIT", 4, limit},
    {"WORKER_INFO", 8, info},
    {"QUEUE_MAP", 45, map_queue},
    {"QUEUE_UNMAP", 4, unmap_queue},
    {"QUEUE_END", 3, end_queue},
    {"COMPLETE", 60, complete_work},
    {"BO_LOOK", 25, look_at_buffer},
    {"BO_CREATE_FOR", 20, create_for_queue},
    {"BO_DESTROY", 6, destroy_memory},
    {"BO_EVICT", 20, evict_memory},
    {"BO_RESTORE", 15, restore_memory},
    {"FREED", 20, answer_request},
    {"read", 25, read_events},
    {"poll", 8, poll_all},
    {"close worker", 1, close_worker},
    {"kill worker", 1, kill_a_worker},
    {"sysfs and debugfs", 5, read_observability},
};
const size_t daemon_operation_count = sizeof daemon_operations / sizeof daemon_operations[0];
