// Every field of every call with what it must not hold: one specific error, and nothing has changed.
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "support/every_call.h"
#include "support/snapshot.h"
#include "support/tap.h"

static struct Snapshot before;

static void set_bits(union Argument* a, size_t offset, uint32_t bits) {
  uint32_t value;
  memcpy(&value, a->bytes + offset, sizeof value);
  value |= bits;
  memcpy(a->bytes + offset, &value, sizeof value);
}

// The call with these arguments answers so and writes nothing.
static void check_refused(const struct World* w, const struct EveryCall* c, const union Argument* right, size_t offset,
                          uint32_t bits) {
  union Argument given = *right;
  set_bits(&given, offset, bits);
  union Argument passed = given;
  if (!CHECK_ERR(call(world_file(w, c), c->request, &passed), EINVAL) ||
      !CHECK(memcmp(&passed, &given, call_bytes(c)) == 0))
    note("%s: bits %#x at %zu", c->name, bits, offset);
}

static void every_pad_and_unknown_flag_is_refused(void) {
  struct World w;
  world_make(&w);
  unsigned tried = 0;
  for (size_t i = 0; i < every_call_count; i++) {
    const struct EveryCall* c = &every_call[i];
    union Argument right;
    memset(&right, 0, sizeof right);
    c->fill(&w, &right);
    snapshot_take(&before, &w.device, w.drm);
    for (const struct ZeroField* z = c->zero; z < c->zero + 3 && z->name != NULL; z++) {
      for (unsigned bit = 0; bit < 32; bit++) {
        if (z->allowed & (1u << bit)) continue;
        check_refused(&w, c, &right, z->offset, 1u << bit);
        tried++;
      }
      check_refused(&w, c, &right, z->offset, UINT32_MAX);
    }
    snapshot_same(&before, &w.device, w.drm, c->name);
    // As it is, it is right.
    const int answer = call(world_file(&w, c), c->request, &right);
    if (!CHECK_EQ(answer, c->answer)) note("%s", c->name);
    if (c->clean != NULL) c->clean(&w, &right, answer == 0);
  }
  note("%u bits of %zu calls", tried, every_call_count);
  world_free(&w);
}

// Where a call has two errors for it, either will do.
struct Value {
  const char* call;
  size_t offset;
  unsigned bytes;
  uint64_t value;
  int error;
  int or_error;
};

#define AT(type, field) offsetof(struct type, field), sizeof(((struct type*)0)->field)
#define ALL UINT64_MAX

static const struct Value values[] = {
    {"BO_CREATE of host memory", AT(drm_mlaccel_bo_create, size), 0, EINVAL, 0},
    {"BO_CREATE of host memory", AT(drm_mlaccel_bo_create, size), ALL, EINVAL, 0},
    {"BO_CREATE of host memory", AT(drm_mlaccel_bo_create, size), ALL - 4095, EINVAL, EDQUOT},
    {"BO_CREATE of host memory", AT(drm_mlaccel_bo_create, size), 1ull << 63, EINVAL, EDQUOT},
    {"BO_CREATE of host memory", AT(drm_mlaccel_bo_create, size), 1ull << 44, EDQUOT, 0},
    {"BO_CREATE of host memory", AT(drm_mlaccel_bo_create, alignment), 4096, EINVAL, 0},
    {"BO_CREATE of device memory", AT(drm_mlaccel_bo_create, size), 0, EINVAL, 0},
    {"BO_CREATE of device memory", AT(drm_mlaccel_bo_create, size), ALL, EINVAL, 0},
    {"BO_CREATE of device memory", AT(drm_mlaccel_bo_create, size), ALL - 4095, EDQUOT, 0},
    {"BO_CREATE of device memory", AT(drm_mlaccel_bo_create, size), 1ull << 63, EDQUOT, 0},
    {"BO_CREATE of device memory", AT(drm_mlaccel_bo_create, alignment), 3, EINVAL, 0},
    {"BO_CREATE of device memory", AT(drm_mlaccel_bo_create, alignment), ALL, EINVAL, 0},
    {"BO_CREATE of device memory", AT(drm_mlaccel_bo_create, alignment), 1ull << 63, EINVAL, 0},
    {"BO_CREATE of device memory", AT(drm_mlaccel_bo_create, alignment), 1ull << 47, EINVAL, 0},
    {"BO_CREATE of device memory", AT(drm_mlaccel_bo_create, context), 0, ENOENT, 0},
    {"BO_CREATE of device memory", AT(drm_mlaccel_bo_create, context), ALL, ENOENT, 0},
    {"BO_INFO", AT(drm_mlaccel_bo_info, handle), 0, ENOENT, 0},
    {"BO_INFO", AT(drm_mlaccel_bo_info, handle), ALL, ENOENT, 0},
    {"CTX_CREATE", AT(drm_mlaccel_ctx_create, priority), 2, EINVAL, 0},
    {"CTX_CREATE", AT(drm_mlaccel_ctx_create, priority), ALL - 1, EINVAL, 0},
    {"CTX_CREATE", AT(drm_mlaccel_ctx_create, priority), 0x80000000u, EINVAL, 0},
    {"CTX_CREATE", AT(drm_mlaccel_ctx_create, timeout_ns), 1, EINVAL, 0},
    {"CTX_CREATE", AT(drm_mlaccel_ctx_create, timeout_ns), MLACCEL_TIMEOUT_MIN_NS - 1, EINVAL, 0},
    {"CTX_CREATE", AT(drm_mlaccel_ctx_create, timeout_ns), MLACCEL_TIMEOUT_MAX_NS + 1, EINVAL, 0},
    {"CTX_CREATE", AT(drm_mlaccel_ctx_create, timeout_ns), ALL, EINVAL, 0},
    {"CTX_DESTROY", AT(drm_mlaccel_ctx_destroy, context), 0, ENOENT, 0},
    {"CTX_DESTROY", AT(drm_mlaccel_ctx_destroy, context), ALL, ENOENT, 0},
    {"CTX_STATE", AT(drm_mlaccel_ctx_state, context), 0, ENOENT, 0},
    {"CTX_STATE", AT(drm_mlaccel_ctx_state, context), ALL, ENOENT, 0},
    {"QUEUE_CREATE", AT(drm_mlaccel_queue_create, context), 0, ENOENT, 0},
    {"QUEUE_CREATE", AT(drm_mlaccel_queue_create, context), ALL, ENOENT, 0},
    {"QUEUE_CREATE", AT(drm_mlaccel_queue_create, depth), 0, EINVAL, 0},
    {"QUEUE_CREATE", AT(drm_mlaccel_queue_create, depth), 1, EINVAL, 0},
    {"QUEUE_CREATE", AT(drm_mlaccel_queue_create, depth), 3, EINVAL, 0},
    {"QUEUE_CREATE", AT(drm_mlaccel_queue_create, depth), MLRING_DEPTH_MAX * 2, EINVAL, 0},
    {"QUEUE_CREATE", AT(drm_mlaccel_queue_create, depth), 0x80000000u, EINVAL, 0},
    {"QUEUE_CREATE", AT(drm_mlaccel_queue_create, wake_fd), ALL - 1, EINVAL, EBADF},
    {"QUEUE_CREATE", AT(drm_mlaccel_queue_create, wake_fd), 0x80000000u, EINVAL, EBADF},
    {"QUEUE_CREATE", AT(drm_mlaccel_queue_create, wake_fd), INT_MAX, EBADF, 0},
    {"QUEUE_CREATE", AT(drm_mlaccel_queue_create, wake_fd), 0, EBADF, 0},  // stdin
    {"QUEUE_DESTROY", AT(drm_mlaccel_queue_destroy, queue), 0, ENOENT, 0},
    {"QUEUE_DESTROY", AT(drm_mlaccel_queue_destroy, queue), ALL, ENOENT, 0},
    {"DOORBELL", AT(drm_mlaccel_doorbell, queue), 0, ENOENT, 0},
    {"DOORBELL", AT(drm_mlaccel_doorbell, queue), ALL, ENOENT, 0},
    {"FENCE_ARM", AT(drm_mlaccel_fence_arm, queue), 0, ENOENT, 0},
    {"FENCE_ARM", AT(drm_mlaccel_fence_arm, queue), ALL, ENOENT, 0},
    {"FENCE_ARM", AT(drm_mlaccel_fence_arm, sequence), ALL, EAGAIN, 0},
    {"FENCE_ARM", AT(drm_mlaccel_fence_arm, sequence), 1ull << 63, EAGAIN, 0},
    {"FENCE_ARM", AT(drm_mlaccel_fence_arm, syncobj), 0, ENOENT, 0},
    {"FENCE_ARM", AT(drm_mlaccel_fence_arm, syncobj), ALL, ENOENT, 0},
    {"FENCE_ARM", AT(drm_mlaccel_fence_arm, after_syncobj), ALL, ENOENT, 0},
    {"FENCE_ARM", AT(drm_mlaccel_fence_arm, after_point), 1, EINVAL, 0},
    {"WAIT", AT(drm_mlaccel_wait, queue), 0, ENOENT, 0},
    {"WAIT", AT(drm_mlaccel_wait, queue), ALL, ENOENT, 0},
    {"DEV_REGISTER", AT(mlaccel_dev_register, memory_bytes), 0, EINVAL, 0},
    {"DEV_REGISTER", AT(mlaccel_dev_register, memory_bytes), 4097, EINVAL, 0},
    {"DEV_REGISTER", AT(mlaccel_dev_register, memory_bytes), ALL, EINVAL, 0},
    {"DEV_REGISTER", AT(mlaccel_dev_register, memory_bytes), ALL - 4095, EINVAL, 0},
    {"DEV_REGISTER", AT(mlaccel_dev_register, user_limit), (1 << 20) + 1, EINVAL, 0},
    {"DEV_REGISTER", AT(mlaccel_dev_register, user_limit), ALL, EINVAL, 0},
    {"DEV_REGISTER", AT(mlaccel_dev_register, client_limit), ALL, EINVAL, 0},
    {"DEV_UNREGISTER", AT(mlaccel_dev, device), 0, ENOENT, 0},
    {"DEV_UNREGISTER", AT(mlaccel_dev, device), ALL, ENOENT, 0},
    {"DEV_START", AT(mlaccel_dev_start, device), 0, ENOENT, 0},
    {"DEV_START", AT(mlaccel_dev_start, device), ALL, ENOENT, 0},
    {"DEV_RECOVER", AT(mlaccel_dev_start, device), 0, ENOENT, 0},
    {"DEV_RECOVER", AT(mlaccel_dev_start, device), ALL, ENOENT, 0},
    {"DEV_STOP", AT(mlaccel_dev, device), 0, ENOENT, 0},
    {"DEV_STOP", AT(mlaccel_dev, device), ALL, ENOENT, 0},
    {"SET_LIMIT", AT(mlaccel_set_limit, device), ALL, ENOENT, 0},
    {"SET_LIMIT", AT(mlaccel_set_limit, uid), ALL, EINVAL, 0},
    {"QUEUE_MAP", AT(mlaccel_queue_map, fd), ALL, EBADF, 0},
    {"QUEUE_MAP", AT(mlaccel_queue_map, fd), 0x80000000u, EBADF, 0},
    {"QUEUE_MAP", AT(mlaccel_queue_map, fd), INT_MAX, EBADF, 0},
    {"QUEUE_MAP", AT(mlaccel_queue_map, fd), 0, EBADF, 0},
    {"QUEUE_UNMAP", AT(mlaccel_queue_name, queue), 0, ENOENT, 0},
    {"QUEUE_UNMAP", AT(mlaccel_queue_name, queue), ALL, ENOENT, 0},
    {"QUEUE_END", AT(mlaccel_queue_end, queue), 0, ENOENT, 0},
    {"QUEUE_END", AT(mlaccel_queue_end, queue), ALL, ENOENT, 0},
    {"QUEUE_END", AT(mlaccel_queue_end, state), MLRING_STATE_NONE, EINVAL, 0},
    {"QUEUE_END", AT(mlaccel_queue_end, state), MLRING_STATE_ACTIVE, EINVAL, 0},
    {"QUEUE_END", AT(mlaccel_queue_end, state), MLRING_STATE_LOST, EINVAL, 0},
    {"QUEUE_END", AT(mlaccel_queue_end, state), 5, EINVAL, 0},
    {"QUEUE_END", AT(mlaccel_queue_end, state), ALL, EINVAL, 0},
    {"COMPLETE", AT(mlaccel_complete, queue), 0, ENOENT, 0},
    {"COMPLETE", AT(mlaccel_complete, queue), ALL, ENOENT, 0},
    {"COMPLETE", AT(mlaccel_complete, generation), 0, ESTALE, 0},
    {"COMPLETE", AT(mlaccel_complete, generation), ALL, ESTALE, 0},
    {"BO_LOOK", AT(mlaccel_bo_look, fd), ALL, EBADF, 0},
    {"BO_LOOK", AT(mlaccel_bo_look, fd), INT_MAX, EBADF, 0},
    {"BO_LOOK", AT(mlaccel_bo_look, fd), 0, EBADF, 0},
    {"BO_CREATE_FOR", AT(mlaccel_bo_create_for, queue), 0, ENOENT, 0},
    {"BO_CREATE_FOR", AT(mlaccel_bo_create_for, queue), ALL, ENOENT, 0},
    {"BO_CREATE_FOR", AT(mlaccel_bo_create_for, size), 0, EINVAL, 0},
    {"BO_CREATE_FOR", AT(mlaccel_bo_create_for, size), ALL, EINVAL, 0},
    {"BO_CREATE_FOR", AT(mlaccel_bo_create_for, size), 1ull << 40, EDQUOT, 0},
    {"BO_CREATE_FOR", AT(mlaccel_bo_create_for, alignment), 3, EINVAL, 0},
    {"BO_CREATE_FOR", AT(mlaccel_bo_create_for, alignment), 1ull << 63, EINVAL, 0},
    {"BO_DESTROY", AT(mlaccel_bo_name, bo), 0, ENOENT, 0},
    {"BO_DESTROY", AT(mlaccel_bo_name, bo), ALL, ENOENT, 0},
    {"BO_EVICT", AT(mlaccel_bo_name, bo), 0, ENOENT, 0},
    {"BO_EVICT", AT(mlaccel_bo_name, bo), ALL, ENOENT, 0},
    {"BO_RESTORE", AT(mlaccel_bo_name, bo), 0, ENOENT, 0},
    {"BO_RESTORE", AT(mlaccel_bo_name, bo), ALL, ENOENT, 0},
    {"FREED", AT(mlaccel_freed, request), 0, ENOENT, 0},
    {"FREED", AT(mlaccel_freed, request), ALL, ENOENT, 0},
};

static void every_impossible_value_has_its_error(void) {
  struct World w;
  world_make(&w);
  for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
    const struct Value* v = &values[i];
    const struct EveryCall* c = find_call(v->call);
    union Argument given;
    memset(&given, 0, sizeof given);
    c->fill(&w, &given);
    const union Argument right = given;
    memcpy(given.bytes + v->offset, &v->value, v->bytes);
    union Argument passed = given;
    snapshot_take(&before, &w.device, w.drm);
    const int answer = call(world_file(&w, c), c->request, &passed);
    if (!CHECK(answer == -v->error || (v->or_error != 0 && answer == -v->or_error)))
      note("%s: %#jx at %zu answers %d, not %d", v->call, (uintmax_t)v->value, v->offset, answer, -v->error);
    snapshot_same(&before, &w.device, w.drm, c->name);
    if (c->clean != NULL) c->clean(&w, answer == 0 ? &passed : &right, answer == 0);
  }
  note("%zu values", sizeof values / sizeof values[0]);
  world_free(&w);
}

static void names_of_devices_must_be_names(void) {
  struct World w;
  world_make(&w);
  static const char* const bad[] = {"", ".", "..", "a/b"};
  snapshot_take(&before, &w.device, w.drm);
  struct mlaccel_dev_register right = {.name = "fine", .backend = "fake", .memory_bytes = 1 << 20};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    struct mlaccel_dev_register r = right;
    strcpy(r.name, bad[i]);
    CHECK_ERR(dev_register(w.device.control, &r), EINVAL);
  }
  struct mlaccel_dev_register r = right;
  memset(r.name, 'n', sizeof r.name);
  CHECK_ERR(dev_register(w.device.control, &r), EINVAL);
  r = right;
  memset(r.backend, 'b', sizeof r.backend);
  CHECK_ERR(dev_register(w.device.control, &r), EINVAL);
  r.backend[0] = '\0';
  CHECK_ERR(dev_register(w.device.control, &r), EINVAL);
  r = right;
  memset(r.socket, 's', sizeof r.socket);
  CHECK_ERR(dev_register(w.device.control, &r), EINVAL);
  r = right;
  strcpy(r.name, w.device.name);
  CHECK_ERR(dev_register(w.device.control, &r), EEXIST);
  snapshot_same(&before, &w.device, w.drm, "DEV_REGISTER");
  CHECK_OK(dev_register(w.device.control, &right));
  world_free(&w);
}

static void states_refuse_what_they_can_not_do(void) {
  struct World w;
  world_make(&w);
  struct mlaccel_dev_start start = {.device = w.device.number};
  struct mlaccel_queue_map map;
  const int plain = eventfd(0, EFD_CLOEXEC);
  struct mlaccel_bo_look look;
  snapshot_take(&before, &w.device, w.drm);
  CHECK_ERR(dev_start(w.device.control, &start), EBUSY);
  CHECK_ERR(dev_stop(w.device.control, w.spare), EALREADY);
  CHECK_ERR(queue_map(w.device.worker, w.queue.fd, &map), EALREADY);
  CHECK_ERR(queue_map(w.device.worker, w.device.worker, &map), EBADF);
  CHECK_ERR(queue_map(w.device.worker, w.drm, &map), EBADF);
  CHECK_ERR(bo_look(w.device.worker, plain, &look), EBADF);
  CHECK_ERR(bo_look(w.device.worker, w.queue.fd, &look), EBADF);
  CHECK_ERR(bo_restore(w.device.worker, w.memory_number, NULL), EALREADY);
  // A client's memory is not the worker's to destroy.
  CHECK_ERR(bo_destroy(w.device.worker, w.memory_number), ENOENT);
  snapshot_same(&before, &w.device, w.drm, "a call that its state refuses");
  CHECK_OK(bo_evict(w.device.worker, w.memory_number));
  CHECK_ERR(bo_evict(w.device.worker, w.memory_number), EALREADY);
  CHECK_OK(queue_end(w.device.worker, w.at_worker.number, MLRING_STATE_CLOSED));
  CHECK_ERR(queue_end(w.device.worker, w.at_worker.number, MLRING_STATE_FAULTED), EALREADY);
  CHECK_EQ(queue_state(&w.queue), MLRING_STATE_CLOSED);
  world_free(&w);
}

static void numbers_of_other_files_are_unknown(void) {
  struct World w;
  world_make(&w);
  const int other = device_open(&w.device);
  struct drm_mlaccel_bo_info info;
  struct drm_mlaccel_ctx_state state;
  struct ClientQueue q;
  uint32_t handle;
  snapshot_take(&before, &w.device, w.drm);
  CHECK_ERR(bo_info(other, w.memory, &info), ENOENT);
  CHECK_ERR(ctx_state(other, w.context, &state), ENOENT);
  CHECK_ERR(ctx_destroy(other, w.context), ENOENT);
  CHECK_ERR(queue_destroy(other, w.queue.number), ENOENT);
  CHECK_ERR(doorbell(other, w.queue.number), ENOENT);
  CHECK_ERR(wait_sequence(other, w.queue.number, MLRING_START, 0, NULL), ENOENT);
  CHECK_ERR(arm_point(other, w.queue.number, MLRING_START, w.timeline, 1), ENOENT);
  CHECK_ERR(client_queue_try_open(&q, other, w.context, 8, -1), ENOENT);
  CHECK_ERR(device_bo(other, w.context, 4096, 0, &handle), ENOENT);
  snapshot_same(&before, &w.device, w.drm, "a call with another file's numbers");
  close(other);
  world_free(&w);
}

static void more_than_the_most_is_refused(void) {
  struct World w;
  world_make(&w);
  uint32_t context = 0;
  unsigned contexts = 0, queues = 0;
  int result = 0;
  const int drm = device_open(&w.device);
  while ((result = new_context(drm, &context)) == 0) contexts++;
  CHECK_EQ(result, -ENOSPC);
  CHECK_EQ(contexts, MLACCEL_CONTEXTS_MAX);
  struct drm_mlaccel_queue_create c;
  do {
    c = (struct drm_mlaccel_queue_create){.context = 1, .depth = 2, .wake_fd = -1};
    result = queue_create(drm, &c);
    queues += result == 0;
  } while (result == 0);
  CHECK_EQ(result, -ENOSPC);
  CHECK_EQ(queues, MLACCEL_QUEUES_MAX);
  close(drm);

  struct drm_mlaccel_fence_arm a = {.queue = w.queue.number, .syncobj = w.timeline};
  unsigned fences = 0;
  a.sequence = submit_nops(&w.queue, 1);
  while ((result = fence_arm(w.drm, &a)) == 0) fences++;
  CHECK_EQ(result, -ENOSPC);
  CHECK_EQ(fences, MLACCEL_FENCES_MAX);
  CHECK_EQ(serve(&w.at_worker), 1);
  CHECK_OK(fence_arm(w.drm, &a));
  world_free(&w);
}

static const struct Case cases[] = {
    {"every_pad_and_unknown_flag_is_refused", every_pad_and_unknown_flag_is_refused, 0},
    {"every_impossible_value_has_its_error", every_impossible_value_has_its_error, 0},
    {"names_of_devices_must_be_names", names_of_devices_must_be_names, 0},
    {"states_refuse_what_they_can_not_do", states_refuse_what_they_can_not_do, 0},
    {"numbers_of_other_files_are_unknown", numbers_of_other_files_are_unknown, 0},
    {"more_than_the_most_is_refused", more_than_the_most_is_refused, 0},
};

int main(int argc, char** argv) { return RUN_CASES(argc, argv, cases); }
