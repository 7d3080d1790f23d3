#include <errno.h>

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

void repair(struct Fuzzer* f) {
  uint32_t state = MLACCEL_DEVICE_STOPPED;
  struct drm_mlaccel_ctx_state context;
  if (!has_client(f, &state)) {
    (void)open_control(f);
    (void)register_device(f);
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
