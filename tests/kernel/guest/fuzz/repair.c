#include <errno.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "fuzz/fuzz.h"
#include "support/calls.h"

static int fd_of(const struct Fuzzer* f, enum Kind kind, unsigned slot) {
  return __atomic_load_n(&f->shared->fds[kind][slot], __ATOMIC_RELAXED);
}

static uint32_t latest(const struct Fuzzer* f, enum Name name) {
  return (uint32_t)__atomic_load_n(&f->shared->numbers[name][f->slot][0], __ATOMIC_RELAXED);
}

// Its file is there, and the device behind it.
static bool has_client(struct Fuzzer* f, uint32_t* state) {
  struct drm_mlaccel_dev_query q = {.flags = 0};
  const int result = dev_query(fd_of(f, NODE_FD, f->slot), &q);
  *state = q.state;
  return result == 0;
}

static bool in_pool(const struct Fuzzer* f, int fd) {
  for (int kind = 0; kind < KINDS; kind++)
    for (unsigned slot = 0; slot < slots; slot++)
      if (fd_of(f, (enum Kind)kind, slot) == fd) return true;
  return false;
}

// Descriptors whose numbers were lost, with an answer that was cut off.
static void close_lost_descriptors(struct Fuzzer* f) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  for (int fd = f->shared->first_fd; fd < (int)limit.rlim_cur; fd++)
    if (!in_pool(f, fd)) close(fd);
}

// Devices that were unregistered keep their nodes' numbers, of which there are few, while anything of them is held.
static void let_go(struct Fuzzer* f) {
  static const enum Kind kinds[] = {NODE_FD, WORKER_FD, QUEUE_FD, DMABUF_FD, SYNC_FD, VGEM_FD};
  for (size_t i = 0; i < sizeof f->mappings / sizeof f->mappings[0]; i++) {
    if (f->mappings[i].at != NULL) munmap(f->mappings[i].at, f->mappings[i].bytes);
    f->mappings[i].at = NULL;
  }
  for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
    for (unsigned slot = 0; slot < slots; slot++) {
      const int fd = __atomic_exchange_n(&f->shared->fds[kinds[i]][slot], -1, __ATOMIC_RELAXED);
      if (fd >= 0) close(fd);
    }
  close_lost_descriptors(f);
}

void repair(struct Fuzzer* f) {
  uint32_t state = MLACCEL_DEVICE_STOPPED;
  struct drm_mlaccel_ctx_state context;
  if (!has_client(f, &state)) {
    (void)open_control(f);
    if (register_device(f) == -ENOSPC) let_go(f);
    (void)start_device(f);
    (void)open_node(f);
  } else if (state == MLACCEL_DEVICE_STOPPED) {
    (void)start_device(f);
  }
  const int drm = fd_of(f, NODE_FD, f->slot);
  if (ctx_state(drm, latest(f, CONTEXT), &context) != 0 || (context.state & MLACCEL_CTX_GUILTY)) {
    (void)create_context(f);
    (void)create_syncobj(f);
  }
  if (doorbell(drm, latest(f, QUEUE)) != 0 && create_queue(f) == 0) (void)map_queue(f);
}
