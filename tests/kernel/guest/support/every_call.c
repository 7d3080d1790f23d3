#include "support/every_call.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "support/faults.h"
#include "support/process.h"
#include "support/tap.h"

// ---- the world

static uint32_t register_spare(struct World* w, const char* suffix) {
  struct mlaccel_dev_register r = {.memory_bytes = 1 << 20, .backend = "fake"};
  snprintf(r.name, sizeof r.name, "%.40s-%s", w->device.name, suffix);
  REQUIRE_OK(dev_register(w->device.control, &r));
  return r.device;
}

void world_make(struct World* w) {
  struct mlaccel_bo_look look;
  int fd = -1;
  memset(w, 0, sizeof *w);
  w->scratch_fd = -1;
  device_setup(&w->device);
  w->spare = register_spare(w, "spare");
  w->drm = device_open(&w->device);
  REQUIRE_OK(new_context(w->drm, &w->context));
  REQUIRE_OK(client_queue_try_open(&w->queue, w->drm, w->context, 8, -1));
  worker_queue_map(&w->at_worker, w->device.worker, w->device.generation, w->queue.fd);
  REQUIRE_OK(host_bo(w->drm, 8192, &w->host));
  REQUIRE_OK(prime_export(w->drm, w->host, &w->dmabuf));
  REQUIRE_OK(device_bo(w->drm, w->context, 8192, 0, &w->memory));
  REQUIRE_OK(prime_export(w->drm, w->memory, &fd));
  REQUIRE_OK(bo_look(w->device.worker, fd, &look));
  w->memory_number = look.bo;
  close(fd);
  REQUIRE_OK(syncobj_create(w->drm, 0, &w->timeline));
}

void world_free(struct World* w) {
  worker_queue_unmap(&w->at_worker);
  client_queue_unmap(&w->queue);
  close(w->dmabuf);
  close(w->drm);
  close(w->device.worker);
  // Both devices go with it.
  close(w->device.control);
}

int world_file(const struct World* w, const struct EveryCall* c) {
  switch (c->file) {
    case CLIENT: return w->drm;
    case CONTROL: return w->device.control;
    default: return w->device.worker;
  }
}

size_t call_bytes(const struct EveryCall* c) { return _IOC_SIZE(c->request); }

// ---- a client's

static void fill_bo_create_host(struct World* w, void* argument) {
  (void)w;
  struct drm_mlaccel_bo_create* a = argument;
  a->size = 4096;
}

static void fill_bo_create_device(struct World* w, void* argument) {
  struct drm_mlaccel_bo_create* a = argument;
  a->size = 4096;
  a->alignment = 65536;
  a->flags = MLACCEL_BO_DEVICE;
  a->context = w->context;
}

static void clean_bo_create(struct World* w, const void* argument, bool done) {
  const struct drm_mlaccel_bo_create* a = argument;
  if (done) CHECK_OK(gem_close(w->drm, a->handle));
}

static void fill_bo_info(struct World* w, void* argument) {
  struct drm_mlaccel_bo_info* a = argument;
  a->handle = w->host;
}

static void clean_ctx_create(struct World* w, const void* argument, bool done) {
  const struct drm_mlaccel_ctx_create* a = argument;
  if (done) CHECK_OK(ctx_destroy(w->drm, a->context));
}

static void fill_ctx_destroy(struct World* w, void* argument) {
  struct drm_mlaccel_ctx_destroy* a = argument;
  REQUIRE_OK(new_context(w->drm, &w->scratch));
  a->context = w->scratch;
}

static void clean_ctx_destroy(struct World* w, const void* argument, bool done) {
  (void)argument;
  if (!done) CHECK_OK(ctx_destroy(w->drm, w->scratch));
}

static void fill_ctx_state(struct World* w, void* argument) {
  struct drm_mlaccel_ctx_state* a = argument;
  a->context = w->context;
}

static void fill_queue_create(struct World* w, void* argument) {
  struct drm_mlaccel_queue_create* a = argument;
  a->context = w->context;
  a->depth = 4;
  a->wake_fd = -1;
}

static void clean_queue_create(struct World* w, const void* argument, bool done) {
  const struct drm_mlaccel_queue_create* a = argument;
  if (!done) return;
  CHECK_OK(queue_destroy(w->drm, a->queue));
  close(a->fd);
}

static void make_queue(struct World* w) {
  struct drm_mlaccel_queue_create c = {.context = w->context, .depth = 4, .wake_fd = -1};
  REQUIRE_OK(queue_create(w->drm, &c));
  w->scratch = c.queue;
  w->scratch_fd = c.fd;
}

static void drop_queue(struct World* w) {
  CHECK_OK(queue_destroy(w->drm, w->scratch));
  close(w->scratch_fd);
}

static void fill_queue_destroy(struct World* w, void* argument) {
  struct drm_mlaccel_queue_destroy* a = argument;
  make_queue(w);
  a->queue = w->scratch;
}

static void clean_queue_destroy(struct World* w, const void* argument, bool done) {
  (void)argument;
  if (!done) CHECK_OK(queue_destroy(w->drm, w->scratch));
  close(w->scratch_fd);
}

static void fill_doorbell(struct World* w, void* argument) {
  struct drm_mlaccel_doorbell* a = argument;
  a->queue = w->queue.number;
}

static void fill_fence_arm(struct World* w, void* argument) {
  struct drm_mlaccel_fence_arm* a = argument;
  a->queue = w->queue.number;
  a->sequence = submit_nops(&w->queue, 1);
  a->syncobj = w->timeline;
  a->point = w->point + 1;
}

static void clean_fence_arm(struct World* w, const void* argument, bool done) {
  (void)argument;
  CHECK_EQ(serve(&w->at_worker), 1);
  CHECK_OK(complete_queue(&w->at_worker, 0));
  CHECK_EQ(read_all_completions(&w->queue), 1);
  if (done) w->point++;
}

static void fill_wait(struct World* w, void* argument) {
  struct drm_mlaccel_wait* a = argument;
  a->queue = w->queue.number;
  a->sequence = w->queue.next;
  a->deadline_ns = now_ns() + MILLISECONDS(1);
}

// ---- the control node's

static void fill_dev_register(struct World* w, void* argument) {
  struct mlaccel_dev_register* a = argument;
  snprintf(a->name, sizeof a->name, "%.40s-new", w->device.name);
  strcpy(a->backend, "fake");
  strcpy(a->socket, "/run/nobody");
  a->memory_bytes = 1 << 20;
  a->user_limit = a->client_limit = 1 << 19;
}

static void clean_dev_register(struct World* w, const void* argument, bool done) {
  const struct mlaccel_dev_register* a = argument;
  if (done) CHECK_OK(dev_unregister(w->device.control, a->device));
}

static void fill_dev_unregister(struct World* w, void* argument) {
  struct mlaccel_dev* a = argument;
  a->device = w->scratch = register_spare(w, "gone");
}

static void clean_dev_unregister(struct World* w, const void* argument, bool done) {
  (void)argument;
  if (!done) CHECK_OK(dev_unregister(w->device.control, w->scratch));
}

static void fill_dev_start(struct World* w, void* argument) {
  struct mlaccel_dev_start* a = argument;
  a->device = w->spare;
}

static void clean_dev_start(struct World* w, const void* argument, bool done) {
  const struct mlaccel_dev_start* a = argument;
  (void)w;
  if (done) close(a->fd);
}

static void fill_dev_stop(struct World* w, void* argument) {
  struct mlaccel_dev* a = argument;
  struct mlaccel_dev_start s = {.device = w->spare};
  REQUIRE_OK(dev_start(w->device.control, &s));
  w->scratch_fd = s.fd;
  a->device = w->spare;
}

static void clean_dev_stop(struct World* w, const void* argument, bool done) {
  (void)argument, (void)done;
  close(w->scratch_fd);
}

static void fill_set_limit(struct World* w, void* argument) {
  struct mlaccel_set_limit* a = argument;
  a->device = w->device.number;
  a->uid = 4711;
  a->bytes = 1 << 20;
}

// ---- a worker's

static void fill_queue_map(struct World* w, void* argument) {
  struct mlaccel_queue_map* a = argument;
  make_queue(w);
  a->fd = w->scratch_fd;
}

static void clean_queue_map(struct World* w, const void* argument, bool done) {
  const struct mlaccel_queue_map* a = argument;
  if (done) CHECK_OK(queue_unmap(w->device.worker, a->queue));
  drop_queue(w);
}

static uint32_t make_mapped_queue(struct World* w) {
  struct mlaccel_queue_map m;
  make_queue(w);
  REQUIRE_OK(queue_map(w->device.worker, w->scratch_fd, &m));
  return m.queue;
}

static void fill_queue_unmap(struct World* w, void* argument) {
  struct mlaccel_queue_name* a = argument;
  a->queue = make_mapped_queue(w);
}

static void clean_queue_unmap(struct World* w, const void* argument, bool done) {
  const struct mlaccel_queue_name* a = argument;
  if (!done) CHECK_OK(queue_unmap(w->device.worker, a->queue));
  drop_queue(w);
}

static void fill_queue_end(struct World* w, void* argument) {
  struct mlaccel_queue_end* a = argument;
  a->queue = make_mapped_queue(w);
  a->state = MLRING_STATE_CLOSED;
}

static void clean_queue_end(struct World* w, const void* argument, bool done) {
  const struct mlaccel_queue_end* a = argument;
  (void)done;
  CHECK_OK(queue_unmap(w->device.worker, a->queue));
  drop_queue(w);
}

static void fill_complete(struct World* w, void* argument) {
  struct mlaccel_complete* a = argument;
  a->queue = w->at_worker.number;
  a->generation = w->device.generation;
}

static void fill_bo_look(struct World* w, void* argument) {
  struct mlaccel_bo_look* a = argument;
  a->fd = w->dmabuf;
}

static void fill_bo_create_for(struct World* w, void* argument) {
  struct mlaccel_bo_create_for* a = argument;
  a->queue = w->at_worker.number;
  a->size = 4096;
}

static void clean_bo_create_for(struct World* w, const void* argument, bool done) {
  const struct mlaccel_bo_create_for* a = argument;
  if (done) CHECK_OK(bo_destroy(w->device.worker, a->bo));
}

static void fill_bo_destroy(struct World* w, void* argument) {
  struct mlaccel_bo_name* a = argument;
  struct mlaccel_bo_create_for c = {.queue = w->at_worker.number, .size = 4096};
  REQUIRE_OK(bo_create_for(w->device.worker, &c));
  a->bo = c.bo;
}

static void clean_bo_destroy(struct World* w, const void* argument, bool done) {
  const struct mlaccel_bo_name* a = argument;
  if (!done) CHECK_OK(bo_destroy(w->device.worker, a->bo));
}

static void fill_bo_evict(struct World* w, void* argument) {
  struct mlaccel_bo_name* a = argument;
  a->bo = w->memory_number;
}

static void clean_bo_evict(struct World* w, const void* argument, bool done) {
  (void)argument;
  if (done) CHECK_OK(bo_restore(w->device.worker, w->memory_number, NULL));
}

static void fill_bo_restore(struct World* w, void* argument) {
  struct mlaccel_bo_name* a = argument;
  CHECK_OK(bo_evict(w->device.worker, w->memory_number));
  a->bo = w->memory_number;
}

static void clean_bo_restore(struct World* w, const void* argument, bool done) {
  (void)argument;
  if (!done) CHECK_OK(bo_restore(w->device.worker, w->memory_number, NULL));
}

static void fill_freed(struct World* w, void* argument) {
  (void)w;
  struct mlaccel_freed* a = argument;
  a->request = 1;
}

static void fill_nothing(struct World* w, void* argument) { (void)w, (void)argument; }

// clang-format off
#define ZERO(type, field, allowed_) {#field, offsetof(struct type, field), allowed_}

const struct EveryCall every_call[] = {
    {"DEV_QUERY", CLIENT, DRM_IOCTL_MLACCEL_DEV_QUERY, 0, fill_nothing, NULL,
     {ZERO(drm_mlaccel_dev_query, flags, 0), ZERO(drm_mlaccel_dev_query, pad, 0)}},
    {"BO_CREATE of host memory", CLIENT, DRM_IOCTL_MLACCEL_BO_CREATE, 0, fill_bo_create_host, clean_bo_create,
     {ZERO(drm_mlaccel_bo_create, flags, MLACCEL_BO_DEVICE), ZERO(drm_mlaccel_bo_create, context, 0),
      ZERO(drm_mlaccel_bo_create, pad, 0)}},
    {"BO_CREATE of device memory", CLIENT, DRM_IOCTL_MLACCEL_BO_CREATE, 0, fill_bo_create_device, clean_bo_create,
     {ZERO(drm_mlaccel_bo_create, flags, MLACCEL_BO_DEVICE), ZERO(drm_mlaccel_bo_create, pad, 0)}},
    {"BO_INFO", CLIENT, DRM_IOCTL_MLACCEL_BO_INFO, 0, fill_bo_info, NULL,
     {ZERO(drm_mlaccel_bo_info, pad, 0)}},
    {"CTX_CREATE", CLIENT, DRM_IOCTL_MLACCEL_CTX_CREATE, 0, fill_nothing, clean_ctx_create,
     {ZERO(drm_mlaccel_ctx_create, flags, 0), ZERO(drm_mlaccel_ctx_create, pad, 0)}},
    {"CTX_DESTROY", CLIENT, DRM_IOCTL_MLACCEL_CTX_DESTROY, 0, fill_ctx_destroy, clean_ctx_destroy,
     {ZERO(drm_mlaccel_ctx_destroy, pad, 0)}},
    {"CTX_STATE", CLIENT, DRM_IOCTL_MLACCEL_CTX_STATE, 0, fill_ctx_state, NULL,
     {ZERO(drm_mlaccel_ctx_state, flags, 0), ZERO(drm_mlaccel_ctx_state, pad, 0)}},
    {"QUEUE_CREATE", CLIENT, DRM_IOCTL_MLACCEL_QUEUE_CREATE, 0, fill_queue_create, clean_queue_create,
     {ZERO(drm_mlaccel_queue_create, flags, 0), ZERO(drm_mlaccel_queue_create, pad, 0)}},
    {"QUEUE_DESTROY", CLIENT, DRM_IOCTL_MLACCEL_QUEUE_DESTROY, 0, fill_queue_destroy, clean_queue_destroy,
     {ZERO(drm_mlaccel_queue_destroy, pad, 0)}},
    {"DOORBELL", CLIENT, DRM_IOCTL_MLACCEL_DOORBELL, 0, fill_doorbell, NULL,
     {ZERO(drm_mlaccel_doorbell, pad, 0)}},
    {"FENCE_ARM", CLIENT, DRM_IOCTL_MLACCEL_FENCE_ARM, 0, fill_fence_arm, clean_fence_arm,
     {ZERO(drm_mlaccel_fence_arm, flags, 0)}},
    {"WAIT", CLIENT, DRM_IOCTL_MLACCEL_WAIT, -ETIME, fill_wait, NULL,
     {ZERO(drm_mlaccel_wait, flags, 0)}},
    {"GET_FEATURES", CONTROL, MLACCEL_GET_FEATURES, 0, fill_nothing, NULL,
     {ZERO(mlaccel_features, pad, 0)}},
    {"DEV_REGISTER", CONTROL, MLACCEL_DEV_REGISTER, 0, fill_dev_register, clean_dev_register,
     {ZERO(mlaccel_dev_register, flags, 0), ZERO(mlaccel_dev_register, pad, 0)}},
    {"DEV_UNREGISTER", CONTROL, MLACCEL_DEV_UNREGISTER, 0, fill_dev_unregister, clean_dev_unregister,
     {ZERO(mlaccel_dev, pad, 0)}},
    {"DEV_START", CONTROL, MLACCEL_DEV_START, 0, fill_dev_start, clean_dev_start,
     {ZERO(mlaccel_dev_start, flags, 0)}},
    {"DEV_RECOVER", CONTROL, MLACCEL_DEV_RECOVER, 0, fill_dev_start, clean_dev_start,
     {ZERO(mlaccel_dev_start, flags, 0)}},
    {"DEV_STOP", CONTROL, MLACCEL_DEV_STOP, 0, fill_dev_stop, clean_dev_stop,
     {ZERO(mlaccel_dev, pad, 0)}},
    {"SET_LIMIT", CONTROL, MLACCEL_SET_LIMIT, 0, fill_set_limit, NULL, {{NULL, 0, 0}}},
    {"WORKER_INFO", WORKER, MLACCEL_WORKER_INFO, 0, fill_nothing, NULL,
     {ZERO(mlaccel_worker_info, pad, 0)}},
    {"QUEUE_MAP", WORKER, MLACCEL_QUEUE_MAP, 0, fill_queue_map, clean_queue_map,
     {ZERO(mlaccel_queue_map, flags, 0), ZERO(mlaccel_queue_map, pad, 0)}},
    {"QUEUE_UNMAP", WORKER, MLACCEL_QUEUE_UNMAP, 0, fill_queue_unmap, clean_queue_unmap,
     {ZERO(mlaccel_queue_name, pad, 0)}},
    {"QUEUE_END", WORKER, MLACCEL_QUEUE_END, 0, fill_queue_end, clean_queue_end, {{NULL, 0, 0}}},
    {"COMPLETE", WORKER, MLACCEL_COMPLETE, 0, fill_complete, NULL,
     {ZERO(mlaccel_complete, flags, MLACCEL_COMPLETE_WAKE), ZERO(mlaccel_complete, pad, 0)}},
    {"BO_LOOK", WORKER, MLACCEL_BO_LOOK, 0, fill_bo_look, NULL,
     {ZERO(mlaccel_bo_look, flags, 0), ZERO(mlaccel_bo_look, pad, 0)}},
    {"BO_CREATE_FOR", WORKER, MLACCEL_BO_CREATE_FOR, 0, fill_bo_create_for, clean_bo_create_for,
     {ZERO(mlaccel_bo_create_for, flags, MLACCEL_BO_NOWAIT), ZERO(mlaccel_bo_create_for, pad, 0)}},
    {"BO_DESTROY", WORKER, MLACCEL_BO_DESTROY, 0, fill_bo_destroy, clean_bo_destroy,
     {ZERO(mlaccel_bo_name, pad, 0)}},
    {"BO_EVICT", WORKER, MLACCEL_BO_EVICT, 0, fill_bo_evict, clean_bo_evict,
     {ZERO(mlaccel_bo_name, pad, 0)}},
    {"BO_RESTORE", WORKER, MLACCEL_BO_RESTORE, 0, fill_bo_restore, clean_bo_restore,
     {ZERO(mlaccel_bo_name, pad, 0)}},
    {"FREED", WORKER, MLACCEL_FREED, -ENOENT, fill_freed, NULL, {{NULL, 0, 0}}},
};
// clang-format on
const size_t every_call_count = sizeof every_call / sizeof every_call[0];

const struct EveryCall* find_call(const char* name) {
  for (size_t i = 0; i < every_call_count; i++)
    if (strcmp(every_call[i].name, name) == 0) return &every_call[i];
  note("no call is named %s", name);
  end_case();
}
