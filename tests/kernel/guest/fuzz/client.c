// Calls on a client's file, ours and DRM's.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fuzz/fuzz.h"
#include "support/process.h"
#include "support/tap.h"

static uint64_t bytes_of_memory(struct Fuzzer* f) { return chance(f, 90) ? (1 + below(f, 64)) << 12 : hostile(f); }

int open_node(struct Fuzzer* f) {
  char path[64];
  const char* format = f->shared->accel ? "/dev/accel/accel%u" : "/dev/dri/renderD%u";
  snprintf(path, sizeof path, format, (unsigned)pick_number(f, MINOR));
  chmod(path, 0666);
  // Half of the slots are another user's. The system call is about this thread only.
  if (f->slot >= devices) syscall(SYS_setresuid, -1, 4711, -1);
  const int fd = open(path, O_RDWR | O_CLOEXEC), error = errno;
  if (f->slot >= devices) syscall(SYS_setresuid, -1, 0, -1);
  if (fd < 0) return -error;
  keep_fd(f, NODE_FD, fd);
  return 0;
}

static int close_something(struct Fuzzer* f) {
  static const enum Kind kinds[] = {NODE_FD, NODE_FD, QUEUE_FD, QUEUE_FD, DMABUF_FD, SYNC_FD, EVENT_FD};
  const int fd = take_fd(f, kinds[below(f, sizeof kinds / sizeof kinds[0])]);
  return fd < 0 ? -EBADF : close(fd) < 0 ? -errno : 0;
}

static int dup_something(struct Fuzzer* f) {
  static const enum Kind kinds[] = {NODE_FD, QUEUE_FD, DMABUF_FD, WORKER_FD};
  const enum Kind kind = kinds[below(f, sizeof kinds / sizeof kinds[0])];
  const int fd = fcntl(pick_fd(f, kind), F_DUPFD_CLOEXEC, 3);
  if (fd < 0) return -errno;
  keep_fd(f, kind, fd);
  return 0;
}

static int query(struct Fuzzer* f) {
  struct drm_mlaccel_dev_query a = {.flags = 0};
  const int result = fuzz_call(f, pick_fd(f, NODE_FD), DRM_IOCTL_MLACCEL_DEV_QUERY, &a);
  if (result == 0) keep_number(f, GENERATION, a.generation);
  return result;
}

static int create_buffer(struct Fuzzer* f) {
  struct drm_mlaccel_bo_create a = {.size = bytes_of_memory(f)};
  if (chance(f, 50)) {
    a.flags = MLACCEL_BO_DEVICE;
    a.context = (uint32_t)pick_number(f, CONTEXT);
    a.alignment = chance(f, 70) ? 0 : 1ull << below(f, 64);
    // Enough to run out of it.
    if (chance(f, 20)) a.size <<= 5;
  }
  const int result = fuzz_call(f, pick_fd(f, NODE_FD), DRM_IOCTL_MLACCEL_BO_CREATE, &a);
  if (result == 0) keep_number(f, HANDLE, a.handle);
  return result;
}

static int buffer_info(struct Fuzzer* f) {
  struct drm_mlaccel_bo_info a = {.handle = (uint32_t)pick_number(f, HANDLE)};
  const int result = fuzz_call(f, pick_fd(f, NODE_FD), DRM_IOCTL_MLACCEL_BO_INFO, &a);
  if (result == 0 && a.map_offset != 0) keep_number(f, BUFFER_OFFSET, a.map_offset);
  return result;
}

int create_context(struct Fuzzer* f) {
  struct drm_mlaccel_ctx_create a = {.priority = (int32_t)below(f, 3) - 1};
  if (chance(f, 50)) a.timeout_ns = MILLISECONDS(1 + below(f, 50));
  if (chance(f, 30)) a.memory_limit = bytes_of_memory(f);
  const int result = fuzz_call(f, pick_fd(f, NODE_FD), DRM_IOCTL_MLACCEL_CTX_CREATE, &a);
  if (result == 0) keep_number(f, CONTEXT, a.context);
  return result;
}

static int destroy_context(struct Fuzzer* f) {
  struct drm_mlaccel_ctx_destroy a = {.context = (uint32_t)pick_number(f, CONTEXT)};
  return fuzz_call(f, pick_fd(f, NODE_FD), DRM_IOCTL_MLACCEL_CTX_DESTROY, &a);
}

static int context_state(struct Fuzzer* f) {
  struct drm_mlaccel_ctx_state a = {.context = (uint32_t)pick_number(f, CONTEXT)};
  return fuzz_call(f, pick_fd(f, NODE_FD), DRM_IOCTL_MLACCEL_CTX_STATE, &a);
}

int create_queue(struct Fuzzer* f) {
  struct drm_mlaccel_queue_create a = {.context = (uint32_t)pick_number(f, CONTEXT),
                                       .depth = chance(f, 95) ? 2u << below(f, 6) : (uint32_t)hostile(f),
                                       .wake_fd = chance(f, 50) ? pick_fd(f, EVENT_FD) : -1};
  const int result = fuzz_call(f, pick_fd(f, NODE_FD), DRM_IOCTL_MLACCEL_QUEUE_CREATE, &a);
  if (result != 0) return result;
  keep_number(f, QUEUE, a.queue);
  keep_number(f, GENERATION, a.generation);
  keep_fd(f, QUEUE_FD, a.fd);
  return 0;
}

static int destroy_queue(struct Fuzzer* f) {
  struct drm_mlaccel_queue_destroy a = {.queue = (uint32_t)pick_number(f, QUEUE)};
  return fuzz_call(f, pick_fd(f, NODE_FD), DRM_IOCTL_MLACCEL_QUEUE_DESTROY, &a);
}

static int ring_doorbell(struct Fuzzer* f) {
  struct drm_mlaccel_doorbell a = {.queue = (uint32_t)pick_number(f, QUEUE)};
  return fuzz_call(f, pick_fd(f, NODE_FD), DRM_IOCTL_MLACCEL_DOORBELL, &a);
}

static uint64_t sequence(struct Fuzzer* f) { return chance(f, 90) ? MLRING_START + below(f, 4) : hostile(f); }

static int arm_fence(struct Fuzzer* f) {
  struct drm_mlaccel_fence_arm a = {.queue = (uint32_t)pick_number(f, QUEUE),
                                    .sequence = sequence(f),
                                    .syncobj = (uint32_t)pick_number(f, SYNCOBJ),
                                    .point = chance(f, 50) ? 0 : pick_number(f, POINT) + below(f, 3),
                                    .timeout_ns = chance(f, 50) ? 0 : below(f, MILLISECONDS(20))};
  if (chance(f, 20)) {
    a.after_syncobj = (uint32_t)pick_number(f, SYNCOBJ);
    a.after_point = chance(f, 50) ? 0 : pick_number(f, POINT);
  }
  const int result = fuzz_call(f, pick_fd(f, NODE_FD), DRM_IOCTL_MLACCEL_FENCE_ARM, &a);
  if (result == 0) keep_number(f, POINT, a.point);
  return result;
}

static int wait_for_sequence(struct Fuzzer* f) {
  struct drm_mlaccel_wait a = {.queue = (uint32_t)pick_number(f, QUEUE),
                               .sequence = sequence(f),
                               .deadline_ns = chance(f, 95) ? now_ns() + below(f, MILLISECONDS(2)) : hostile(f)};
  return fuzz_call(f, pick_fd(f, NODE_FD), DRM_IOCTL_MLACCEL_WAIT, &a);
}

// ---- DRM's

static int close_handle(struct Fuzzer* f) {
  struct drm_gem_close a = {.handle = (uint32_t)pick_number(f, HANDLE)};
  return fuzz_call(f, pick_fd(f, NODE_FD), DRM_IOCTL_GEM_CLOSE, &a);
}

static int export_handle(struct Fuzzer* f) {
  int fd = -1;
  const int result = prime_export(pick_fd(f, NODE_FD), (uint32_t)pick_number(f, HANDLE), &fd);
  if (result == 0) keep_fd(f, DMABUF_FD, fd);
  return result;
}

static int import_handle(struct Fuzzer* f) {
  uint32_t handle = 0;
  const bool foreign = chance(f, 20);
  const int result = prime_import(pick_fd(f, foreign ? VGEM_FD : NODE_FD), pick_fd(f, DMABUF_FD), &handle);
  if (result == 0 && !foreign) keep_number(f, HANDLE, handle);
  return result;
}

// Another file of vgem's: what was imported into the one before goes with it.
static int open_vgem(struct Fuzzer* f) {
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", f->shared->vgem);
  const int fd = open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) return -errno;
  keep_fd(f, VGEM_FD, fd);
  return 0;
}

int create_syncobj(struct Fuzzer* f) {
  uint32_t syncobj = 0;
  const int result = syncobj_create(pick_fd(f, NODE_FD), (uint32_t)below(f, 2), &syncobj);
  if (result == 0) keep_number(f, SYNCOBJ, syncobj);
  return result;
}

static int destroy_syncobj(struct Fuzzer* f) {
  return syncobj_destroy(pick_fd(f, NODE_FD), (uint32_t)pick_number(f, SYNCOBJ));
}

static int use_syncobj(struct Fuzzer* f) {
  const int drm = pick_fd(f, NODE_FD);
  const uint32_t syncobj = (uint32_t)pick_number(f, SYNCOBJ);
  uint64_t point = pick_number(f, POINT);
  switch (below(f, 8)) {
    case 0: return syncobj_signal(drm, syncobj);
    case 1: return syncobj_reset(drm, syncobj);
    case 2: return timeline_signal(drm, syncobj, point);
    case 3: return timeline_query(drm, syncobj, &point);
    case 4:
      return timeline_transfer(drm, (uint32_t)pick_number(f, SYNCOBJ), chance(f, 50) ? 0 : point + 1, syncobj,
                               chance(f, 50) ? 0 : point);
    case 5: return syncobj_wait(drm, syncobj, now_ns() + below(f, MILLISECONDS(2)), (uint32_t)below(f, 4));
    default: return timeline_wait(drm, syncobj, point, now_ns() + below(f, MILLISECONDS(2)), (uint32_t)below(f, 8));
  }
}

static int export_syncobj(struct Fuzzer* f) {
  int fd = -1;
  const uint32_t syncobj = (uint32_t)pick_number(f, SYNCOBJ);
  const int drm = pick_fd(f, NODE_FD);
  const int result = chance(f, 70) ? sync_file_export(drm, syncobj, &fd) : syncobj_export(drm, syncobj, &fd);
  if (result == 0) keep_fd(f, SYNC_FD, fd);
  return result;
}

static int look_at_sync_file(struct Fuzzer* f) {
  const int fd = pick_fd(f, SYNC_FD);
  struct pollfd wait = {.fd = fd, .events = POLLIN};
  (void)poll(&wait, 1, 0);
  const int status = sync_file_status(fd);
  // The fence's error is no error of the call.
  return status >= 0 || status == -ETIMEDOUT || status == -ECANCELED || status == -EPROTO ? 0 : status;
}

static int make_eventfd(struct Fuzzer* f) {
  const int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  const uint64_t full = UINT64_MAX - 1;
  if (fd < 0) return -errno;
  if (chance(f, 20) && write(fd, &full, sizeof full) < 0) return -errno;
  keep_fd(f, EVENT_FD, fd);
  return 0;
}

static int read_fdinfo(struct Fuzzer* f) {
  char path[64], text[2048];
  snprintf(path, sizeof path, "/proc/self/fdinfo/%d", pick_fd(f, NODE_FD));
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -errno;
  const int result = read(fd, text, sizeof text) < 0 ? -errno : 0;
  close(fd);
  return result;
}

static int any_ioctl(struct Fuzzer* f) {
  union {
    uint64_t words[128];
    char bytes[1024];
  } argument;
  for (size_t i = 0; i < 16; i++) argument.words[i] = chance(f, 60) ? 0 : hostile(f);
  memset(argument.words + 16, 0, sizeof argument - 128);
  const enum Kind kinds[] = {NODE_FD, CONTROL_FD, WORKER_FD, QUEUE_FD};
  const enum Kind kind = kinds[below(f, 4)];
  // Not DRM's own calls: what they do to a master or a lease is nobody's here.
  const unsigned number = kind == NODE_FD ? DRM_COMMAND_BASE + (unsigned)below(f, 16) : (unsigned)below(f, 64);
  const unsigned type = kind == NODE_FD ? 'd' : MLACCEL_IOCTL;
  const int result = call(pick_fd(f, kind), _IOC(below(f, 4), type, number, 8 * below(f, 128)), &argument);
  return result > 0 ? 0 : result;
}

const struct Operation client_operations[] = {
    {"open", 12, open_node},
    {"close", 5, close_something},
    {"dup", 3, dup_something},
    {"DEV_QUERY", 10, query},
    {"BO_CREATE", 60, create_buffer},
    {"BO_INFO", 25, buffer_info},
    {"CTX_CREATE", 20, create_context},
    {"CTX_DESTROY", 2, destroy_context},
    {"CTX_STATE", 10, context_state},
    {"QUEUE_CREATE", 35, create_queue},
    {"QUEUE_DESTROY", 5, destroy_queue},
    {"DOORBELL", 50, ring_doorbell},
    {"FENCE_ARM", 50, arm_fence},
    {"WAIT", 40, wait_for_sequence},
    {"GEM_CLOSE", 25, close_handle},
    {"PRIME_HANDLE_TO_FD", 15, export_handle},
    {"PRIME_FD_TO_HANDLE", 15, import_handle},
    {"SYNCOBJ_CREATE", 15, create_syncobj},
    {"SYNCOBJ_DESTROY", 2, destroy_syncobj},
    {"SYNCOBJ_*", 30, use_syncobj},
    {"SYNCOBJ_HANDLE_TO_FD", 15, export_syncobj},
    {"SYNC_IOC_FILE_INFO", 15, look_at_sync_file},
    {"eventfd", 5, make_eventfd},
    {"open vgem", 4, open_vgem},
    {"fdinfo", 8, read_fdinfo},
    {"any ioctl", 25, any_ioctl},
};
const size_t client_operation_count = sizeof client_operations / sizeof client_operations[0];
