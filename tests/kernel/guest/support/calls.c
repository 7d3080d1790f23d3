#include "support/calls.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sync_file.h>
#include <sys/ioctl.h>

int call(int fd, unsigned long request, void* argument) {
  const int result = ioctl(fd, request, argument);
  return result < 0 ? -errno : result;
}

int dev_query(int drm, struct drm_mlaccel_dev_query* q) { return call(drm, DRM_IOCTL_MLACCEL_DEV_QUERY, q); }

int bo_create(int drm, struct drm_mlaccel_bo_create* c) { return call(drm, DRM_IOCTL_MLACCEL_BO_CREATE, c); }

int bo_info(int drm, uint32_t handle, struct drm_mlaccel_bo_info* i) {
  *i = (struct drm_mlaccel_bo_info){.handle = handle};
  return call(drm, DRM_IOCTL_MLACCEL_BO_INFO, i);
}

int ctx_create(int drm, struct drm_mlaccel_ctx_create* c) { return call(drm, DRM_IOCTL_MLACCEL_CTX_CREATE, c); }

int ctx_destroy(int drm, uint32_t context) {
  struct drm_mlaccel_ctx_destroy d = {.context = context};
  return call(drm, DRM_IOCTL_MLACCEL_CTX_DESTROY, &d);
}

int ctx_state(int drm, uint32_t context, struct drm_mlaccel_ctx_state* s) {
  *s = (struct drm_mlaccel_ctx_state){.context = context};
  return call(drm, DRM_IOCTL_MLACCEL_CTX_STATE, s);
}

int queue_create(int drm, struct drm_mlaccel_queue_create* c) { return call(drm, DRM_IOCTL_MLACCEL_QUEUE_CREATE, c); }

int queue_destroy(int drm, uint32_t queue) {
  struct drm_mlaccel_queue_destroy d = {.queue = queue};
  return call(drm, DRM_IOCTL_MLACCEL_QUEUE_DESTROY, &d);
}

int doorbell(int drm, uint32_t queue) {
  struct drm_mlaccel_doorbell d = {.queue = queue};
  return call(drm, DRM_IOCTL_MLACCEL_DOORBELL, &d);
}

int fence_arm(int drm, struct drm_mlaccel_fence_arm* a) { return call(drm, DRM_IOCTL_MLACCEL_FENCE_ARM, a); }

int wait_sequence(int drm, uint32_t queue, uint64_t sequence, uint64_t deadline_ns, uint64_t* completed) {
  struct drm_mlaccel_wait w = {.queue = queue, .sequence = sequence, .deadline_ns = deadline_ns};
  const int result = call(drm, DRM_IOCTL_MLACCEL_WAIT, &w);
  if (completed != NULL) *completed = w.completed;
  return result;
}

int host_bo(int drm, uint64_t size, uint32_t* handle) {
  struct drm_mlaccel_bo_create c = {.size = size, .flags = MLACCEL_BO_HOST};
  const int result = bo_create(drm, &c);
  *handle = c.handle;
  return result;
}

int device_bo(int drm, uint32_t context, uint64_t size, uint64_t alignment, uint32_t* handle) {
  struct drm_mlaccel_bo_create c = {
      .size = size, .alignment = alignment, .flags = MLACCEL_BO_DEVICE, .context = context};
  const int result = bo_create(drm, &c);
  *handle = c.handle;
  return result;
}

int new_context(int drm, uint32_t* context) {
  struct drm_mlaccel_ctx_create c = {.priority = 0};
  const int result = ctx_create(drm, &c);
  *context = c.context;
  return result;
}

int arm_point(int drm, uint32_t queue, uint64_t sequence, uint32_t syncobj, uint64_t point) {
  struct drm_mlaccel_fence_arm a = {.queue = queue, .sequence = sequence, .syncobj = syncobj, .point = point};
  return fence_arm(drm, &a);
}

int gem_close(int drm, uint32_t handle) {
  struct drm_gem_close c = {.handle = handle};
  return call(drm, DRM_IOCTL_GEM_CLOSE, &c);
}

int prime_export(int drm, uint32_t handle, int* dmabuf) {
  struct drm_prime_handle p = {.handle = handle, .flags = DRM_CLOEXEC | DRM_RDWR, .fd = -1};
  const int result = call(drm, DRM_IOCTL_PRIME_HANDLE_TO_FD, &p);
  *dmabuf = p.fd;
  return result;
}

int prime_import(int drm, int dmabuf, uint32_t* handle) {
  struct drm_prime_handle p = {.fd = dmabuf};
  const int result = call(drm, DRM_IOCTL_PRIME_FD_TO_HANDLE, &p);
  *handle = p.handle;
  return result;
}

int syncobj_create(int drm, uint32_t flags, uint32_t* syncobj) {
  struct drm_syncobj_create c = {.flags = flags};
  const int result = call(drm, DRM_IOCTL_SYNCOBJ_CREATE, &c);
  *syncobj = c.handle;
  return result;
}

int syncobj_destroy(int drm, uint32_t syncobj) {
  struct drm_syncobj_destroy d = {.handle = syncobj};
  return call(drm, DRM_IOCTL_SYNCOBJ_DESTROY, &d);
}

static int syncobj_array(int drm, unsigned long request, uint32_t syncobj) {
  struct drm_syncobj_array a = {.handles = (uintptr_t)&syncobj, .count_handles = 1};
  return call(drm, request, &a);
}

int syncobj_signal(int drm, uint32_t syncobj) { return syncobj_array(drm, DRM_IOCTL_SYNCOBJ_SIGNAL, syncobj); }

int syncobj_reset(int drm, uint32_t syncobj) { return syncobj_array(drm, DRM_IOCTL_SYNCOBJ_RESET, syncobj); }

// The kernel reads a signed absolute time.
static int64_t deadline_of(uint64_t ns) { return ns > INT64_MAX ? INT64_MAX : (int64_t)ns; }

int syncobj_wait(int drm, uint32_t syncobj, uint64_t deadline_ns, uint32_t flags) {
  struct drm_syncobj_wait w = {
      .handles = (uintptr_t)&syncobj, .timeout_nsec = deadline_of(deadline_ns), .count_handles = 1, .flags = flags};
  return call(drm, DRM_IOCTL_SYNCOBJ_WAIT, &w);
}

int timeline_wait(int drm, uint32_t syncobj, uint64_t point, uint64_t deadline_ns, uint32_t flags) {
  struct drm_syncobj_timeline_wait w = {.handles = (uintptr_t)&syncobj,
                                        .points = (uintptr_t)&point,
                                        .timeout_nsec = deadline_of(deadline_ns),
                                        .count_handles = 1,
                                        .flags = flags};
  return call(drm, DRM_IOCTL_SYNCOBJ_TIMELINE_WAIT, &w);
}

static int timeline_array(int drm, unsigned long request, uint32_t syncobj, uint64_t* point) {
  struct drm_syncobj_timeline_array a = {
      .handles = (uintptr_t)&syncobj, .points = (uintptr_t)point, .count_handles = 1};
  return call(drm, request, &a);
}

int timeline_signal(int drm, uint32_t syncobj, uint64_t point) {
  return timeline_array(drm, DRM_IOCTL_SYNCOBJ_TIMELINE_SIGNAL, syncobj, &point);
}

int timeline_query(int drm, uint32_t syncobj, uint64_t* point) {
  return timeline_array(drm, DRM_IOCTL_SYNCOBJ_QUERY, syncobj, point);
}

int timeline_transfer(int drm, uint32_t to, uint64_t to_point, uint32_t from, uint64_t from_point) {
  struct drm_syncobj_transfer t = {
      .src_handle = from, .dst_handle = to, .src_point = from_point, .dst_point = to_point};
  return call(drm, DRM_IOCTL_SYNCOBJ_TRANSFER, &t);
}

static int syncobj_to_fd(int drm, uint32_t syncobj, uint32_t flags, int* fd) {
  struct drm_syncobj_handle h = {.handle = syncobj, .flags = flags, .fd = -1};
  const int result = call(drm, DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD, &h);
  *fd = h.fd;
  return result;
}

int syncobj_export(int drm, uint32_t syncobj, int* fd) { return syncobj_to_fd(drm, syncobj, 0, fd); }

int sync_file_export(int drm, uint32_t syncobj, int* sync_file) {
  return syncobj_to_fd(drm, syncobj, DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_EXPORT_SYNC_FILE, sync_file);
}

int syncobj_import(int drm, int fd, uint32_t* syncobj) {
  struct drm_syncobj_handle h = {.fd = fd};
  const int result = call(drm, DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE, &h);
  *syncobj = h.handle;
  return result;
}

int sync_file_status(int sync_file) {
  struct sync_file_info info = {.status = 0};
  const int result = call(sync_file, SYNC_IOC_FILE_INFO, &info);
  return result < 0 ? result : info.status;
}

int get_features(int control, struct mlaccel_features* f) { return call(control, MLACCEL_GET_FEATURES, f); }

int dev_register(int control, struct mlaccel_dev_register* r) { return call(control, MLACCEL_DEV_REGISTER, r); }

int dev_unregister(int control, uint32_t device) {
  struct mlaccel_dev d = {.device = device};
  return call(control, MLACCEL_DEV_UNREGISTER, &d);
}

int dev_start(int control, struct mlaccel_dev_start* s) { return call(control, MLACCEL_DEV_START, s); }

int dev_stop(int control, uint32_t device) {
  struct mlaccel_dev d = {.device = device};
  return call(control, MLACCEL_DEV_STOP, &d);
}

int dev_recover(int control, struct mlaccel_dev_start* s) { return call(control, MLACCEL_DEV_RECOVER, s); }

int set_limit(int control, uint32_t device, uint32_t uid, uint64_t bytes) {
  struct mlaccel_set_limit l = {.device = device, .uid = uid, .bytes = bytes};
  return call(control, MLACCEL_SET_LIMIT, &l);
}

int worker_info(int worker, struct mlaccel_worker_info* i) { return call(worker, MLACCEL_WORKER_INFO, i); }

int queue_map(int worker, int queue_fd, struct mlaccel_queue_map* m) {
  *m = (struct mlaccel_queue_map){.fd = queue_fd};
  return call(worker, MLACCEL_QUEUE_MAP, m);
}

int queue_unmap(int worker, uint32_t queue) {
  struct mlaccel_queue_name q = {.queue = queue};
  return call(worker, MLACCEL_QUEUE_UNMAP, &q);
}

int queue_end(int worker, uint32_t queue, uint32_t state) {
  struct mlaccel_queue_end e = {.queue = queue, .state = state};
  return call(worker, MLACCEL_QUEUE_END, &e);
}

int complete(int worker, struct mlaccel_complete* c) { return call(worker, MLACCEL_COMPLETE, c); }

int bo_look(int worker, int fd, struct mlaccel_bo_look* l) {
  *l = (struct mlaccel_bo_look){.fd = fd};
  return call(worker, MLACCEL_BO_LOOK, l);
}

int bo_create_for(int worker, struct mlaccel_bo_create_for* c) { return call(worker, MLACCEL_BO_CREATE_FOR, c); }

static int bo_call(int worker, unsigned long request, uint32_t bo, uint64_t* pool_offset) {
  struct mlaccel_bo_name b = {.bo = bo};
  const int result = call(worker, request, &b);
  if (pool_offset != NULL) *pool_offset = b.pool_offset;
  return result;
}

int bo_destroy(int worker, uint32_t bo) { return bo_call(worker, MLACCEL_BO_DESTROY, bo, NULL); }

int bo_evict(int worker, uint32_t bo) { return bo_call(worker, MLACCEL_BO_EVICT, bo, NULL); }

int bo_restore(int worker, uint32_t bo, uint64_t* pool_offset) {
  return bo_call(worker, MLACCEL_BO_RESTORE, bo, pool_offset);
}

int freed(int worker, uint64_t request) {
  struct mlaccel_freed f = {.request = request};
  return call(worker, MLACCEL_FREED, &f);
}
