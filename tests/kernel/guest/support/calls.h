// The calls of the UAPI, one function each: 0 or -errno, nothing retried. Names follow the headers.
#pragma once

#include <stdint.h>

#include "kernel/uapi/mlaccel_control.h"
#include "kernel/uapi/mlaccel_drm.h"
#include "kernel/uapi/mlaccel_ring.h"

int call(int fd, unsigned long request, void* argument);

// ---- a client's file: mlaccel_drm.h

int dev_query(int drm, struct drm_mlaccel_dev_query* q);
int bo_create(int drm, struct drm_mlaccel_bo_create* c);
int bo_info(int drm, uint32_t handle, struct drm_mlaccel_bo_info* i);
int ctx_create(int drm, struct drm_mlaccel_ctx_create* c);
int ctx_destroy(int drm, uint32_t context);
int ctx_state(int drm, uint32_t context, struct drm_mlaccel_ctx_state* s);
int queue_create(int drm, struct drm_mlaccel_queue_create* c);
int queue_destroy(int drm, uint32_t queue);
int doorbell(int drm, uint32_t queue);
int fence_arm(int drm, struct drm_mlaccel_fence_arm* a);
int wait_sequence(int drm, uint32_t queue, uint64_t sequence, uint64_t deadline_ns, uint64_t* completed);

// The usual ones, said shortly.
int host_bo(int drm, uint64_t size, uint32_t* handle);
int device_bo(int drm, uint32_t context, uint64_t size, uint64_t alignment, uint32_t* handle);
int new_context(int drm, uint32_t* context);
int arm_point(int drm, uint32_t queue, uint64_t sequence, uint32_t syncobj, uint64_t point);

// ---- any DRM file: drm.h

int gem_close(int drm, uint32_t handle);
int prime_export(int drm, uint32_t handle, int* dmabuf);  // readable and writable, close-on-exec
int prime_import(int drm, int dmabuf, uint32_t* handle);

int syncobj_create(int drm, uint32_t flags, uint32_t* syncobj);
int syncobj_destroy(int drm, uint32_t syncobj);
int syncobj_signal(int drm, uint32_t syncobj);  // a binary one
int syncobj_reset(int drm, uint32_t syncobj);
int syncobj_wait(int drm, uint32_t syncobj, uint64_t deadline_ns, uint32_t flags);  // a binary one
int timeline_wait(int drm, uint32_t syncobj, uint64_t point, uint64_t deadline_ns, uint32_t flags);
int timeline_signal(int drm, uint32_t syncobj, uint64_t point);
int timeline_query(int drm, uint32_t syncobj, uint64_t* point);
int timeline_transfer(int drm, uint32_t to, uint64_t to_point, uint32_t from, uint64_t from_point);
int syncobj_export(int drm, uint32_t syncobj, int* fd);
int syncobj_import(int drm, int fd, uint32_t* syncobj);
int sync_file_export(int drm, uint32_t syncobj, int* sync_file);  // the fence of a binary one
// 0: it waits; 1: signalled; -errno: signalled with that error, or no sync_file.
int sync_file_status(int sync_file);

// ---- the control node: mlaccel_control.h

int get_features(int control, struct mlaccel_features* f);
int dev_register(int control, struct mlaccel_dev_register* r);
int dev_unregister(int control, uint32_t device);
int dev_start(int control, struct mlaccel_dev_start* s);
int dev_stop(int control, uint32_t device);
int dev_recover(int control, struct mlaccel_dev_start* s);
int set_limit(int control, uint32_t device, uint32_t uid, uint64_t bytes);

// ---- a worker's file

int worker_info(int worker, struct mlaccel_worker_info* i);
int queue_map(int worker, int queue_fd, struct mlaccel_queue_map* m);
int queue_unmap(int worker, uint32_t queue);
int queue_end(int worker, uint32_t queue, uint32_t state);
int complete(int worker, struct mlaccel_complete* c);
int bo_look(int worker, int fd, struct mlaccel_bo_look* l);
int bo_create_for(int worker, struct mlaccel_bo_create_for* c);
int bo_destroy(int worker, uint32_t bo);
int bo_evict(int worker, uint32_t bo);
int bo_restore(int worker, uint32_t bo, uint64_t* pool_offset);
int freed(int worker, uint64_t request);
