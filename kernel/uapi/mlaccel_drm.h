/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT */
/*
 * What a client asks of /dev/accel/accelN (of /dev/dri/renderDN where the
 * kernel has no accel class): memory, contexts, queues, fences, waits. The rings
 * themselves are in mlaccel_ring.h; what the daemon and its workers ask is in
 * mlaccel_control.h.
 *
 * Rules of every call: fields called flags and pad must be zero where nothing
 * else is said (EINVAL); outputs mean something on success only; a call that
 * fails has changed nothing; calls interrupted by a signal may be repeated as
 * they are. Structures grow at their end and zero means the old behaviour.
 *
 * Errors that any call may answer:
 *   ENODEV     the device was unregistered
 *   EFAULT     the structure can't be read or written
 *   EINVAL     a field says what it can't; unknown flags
 *   ENOENT     no such handle, context or queue of this file
 *   ENOMEM     the machine, or the caller's control group, is short of memory
 *
 * An ended queue answers with why it ended: ENODEV its worker died or was
 * stopped, ETIMEDOUT it hung, EPROTO one side broke the rules of the ring,
 * ECANCELED it or its context was destroyed.
 */
#ifndef MLACCEL_DRM_H
#define MLACCEL_DRM_H

#ifdef __KERNEL__
#include <drm/drm.h>
#else
#include <libdrm/drm.h>
#endif
#include "mlaccel_abi.h"

#if defined(__cplusplus)
extern "C" {
#endif

#define MLACCEL_DRIVER_NAME	"mlaccel"	/* as DRM_IOCTL_VERSION says */

/* What a device is. */
#define MLACCEL_DEVICE_STOPPED	0u	/* no worker: never started, died, or stopped */
#define MLACCEL_DEVICE_RUNNING	1u

/* DEV_QUERY: what this device is, and what its user holds. */
struct drm_mlaccel_dev_query {
	__u32 flags;			/* zero */
	__u32 abi;			/* out: MLACCEL_ABI of the module */
	__u32 device;			/* out: number of the registration, from 1 */
	__u32 generation;		/* out: of its worker; 0: none has run yet */
	__u32 state;			/* out: MLACCEL_DEVICE_* */
	__u32 pad;
	__u64 client;			/* out: this file's number, drm-client-id */
	__u64 memory_bytes;		/* out: device memory, all of it */
	__u64 memory_used;		/* out: of that, by everybody */
	__u64 user_device_bytes;	/* out: of that, by this user */
	__u64 user_device_limit;	/* out */
	__u64 user_host_bytes;		/* out: host BOs and queues of this user */
	__u64 user_host_limit;		/* out */
	__u64 fence_timeout_ns;		/* out: the most that FENCE_ARM grants */
	char name[MLACCEL_NAME];	/* out: "cpu0" */
	char backend[MLACCEL_NAME];	/* out: "cpu" */
	char socket[MLACCEL_PATH];	/* out: where its daemon listens; may be empty */
};

MLACCEL_SIZE(drm_mlaccel_dev_query, 344);
MLACCEL_OFFSET(drm_mlaccel_dev_query, client, 24);
MLACCEL_OFFSET(drm_mlaccel_dev_query, name, 88);

/*
 * BO_CREATE: memory. A host BO is pages of the machine, zeroed, mapped with the
 * offset that BO_INFO tells; it may be exported and is charged to its user. A
 * device BO is a range of the device's memory, charged to a context and through
 * it to this file and its user; no CPU maps it.
 *
 * Pages of a host BO belong to the memory cgroup in which this file was opened,
 * whoever touches them first. If that is full when somebody outside of it does (the
 * worker, say), the process that opened the file is killed.
 *   EINVAL   an alignment above 2 MiB and above `size` rounded up to a power of two
 *   EDQUOT   a limit of the context, the file or the user (device), of the user or
 *            of all users (host); device memory too while the user is above the
 *            limit of host bytes, because memory was evicted or the limit lowered
 *   ENOSPC   the device has no range that fits, and nobody gave one back in time
 *            (while all users together are above their limit of host bytes, nobody
 *            is asked to); or the file has MLACCEL_MEMORIES_MAX
 *   ENOMEM   also: a host BO is more than vm.overcommit_memory=2 leaves
 *   ENODEV   a device BO while the device has no worker
 */
#define MLACCEL_MEMORIES_MAX	65536u	/* of one file, those of its worker included */
#define MLACCEL_BO_HOST		0u
#define MLACCEL_BO_DEVICE	1u
#define MLACCEL_BO_FLAGS	MLACCEL_BO_DEVICE

struct drm_mlaccel_bo_create {
	__u64 size;			/* bytes, not 0; rounded up to pages */
	__u64 alignment;		/* device: a power of two, 0: a page; host: 0 */
	__u32 flags;			/* MLACCEL_BO_* */
	__u32 context;			/* device: who pays; host: 0 */
	__u32 handle;			/* out: a GEM handle */
	__u32 pad;
};

MLACCEL_SIZE(drm_mlaccel_bo_create, 32);
MLACCEL_OFFSET(drm_mlaccel_bo_create, handle, 24);

/* BO_INFO. */
#define MLACCEL_BO_RESIDENT	1u	/* device: it has its range */
#define MLACCEL_BO_EVICTED	2u	/* device: its content is in host memory */
#define MLACCEL_BO_LOST		3u	/* device: its worker died, and the content with it */
#define MLACCEL_BO_IMPORTED	4u	/* host: another driver's pages */

struct drm_mlaccel_bo_info {
	__u32 handle;
	__u32 flags;			/* in: zero; out: MLACCEL_BO_DEVICE or HOST */
	__u64 size;			/* out */
	__u64 map_offset;		/* out: host: for mmap() on this file; device: 0 */
	__u64 address;			/* out: device: stays until the BO is lost; then 0 */
	__u64 pool_offset;		/* out: device, resident: where it lies now */
	__u32 state;			/* out: MLACCEL_BO_*; a host BO is RESIDENT or IMPORTED */
	__u32 pad;
};

MLACCEL_SIZE(drm_mlaccel_bo_info, 48);
MLACCEL_OFFSET(drm_mlaccel_bo_info, address, 24);

/*
 * CTX_CREATE: queues and device memory that stand and fall together.
 *   EPERM    priority 1 without CAP_SYS_NICE
 *   ENOSPC   the file has MLACCEL_CONTEXTS_MAX
 */
#define MLACCEL_CONTEXTS_MAX	64u	/* of one file */
#define MLACCEL_TIMEOUT_MIN_NS	1000000ull		/* 1 ms */
#define MLACCEL_TIMEOUT_MAX_NS	3600000000000ull	/* an hour */

struct drm_mlaccel_ctx_create {
	__s32 priority;			/* -1, 0, 1 */
	__u32 flags;			/* zero */
	__u64 timeout_ns;		/* work may run so long; 0: the default */
	__u64 memory_limit;		/* bytes of device memory; 0: no limit of its own */
	__u32 context;			/* out, from 1 */
	__u32 pad;
};

MLACCEL_SIZE(drm_mlaccel_ctx_create, 32);
MLACCEL_OFFSET(drm_mlaccel_ctx_create, context, 24);

/* CTX_DESTROY: ends its queues (ECANCELED). Its device BOs stay until closed. */
struct drm_mlaccel_ctx_destroy {
	__u32 context;
	__u32 pad;
};

MLACCEL_SIZE(drm_mlaccel_ctx_destroy, 8);

/*
 * CTX_STATE. A context is GUILTY when work of one of its queues was running,
 * said so by the worker, for longer than the context's timeout. It is INNOCENT
 * when it lost queues for another reason: the worker died or was
 * restarted, or a fence expired while its work waited for a turn.
 * A guilty context makes no more queues.
 */
#define MLACCEL_CTX_GUILTY	1u
#define MLACCEL_CTX_INNOCENT	2u

struct drm_mlaccel_ctx_state {
	__u32 context;
	__u32 flags;			/* zero */
	__u32 state;			/* out: MLACCEL_CTX_*, both may hold */
	__u32 resets;			/* out: how often the worker was lost under it */
	__u32 queues;			/* out: that it has, ended ones included */
	__u32 pad;
	__u64 memory_bytes;		/* out: device memory charged to it */
	__u64 completed;		/* out: descriptors, of all its queues */
	__u64 busy_ns;			/* out: device time */
};

MLACCEL_SIZE(drm_mlaccel_ctx_state, 48);
MLACCEL_OFFSET(drm_mlaccel_ctx_state, memory_bytes, 24);

/*
 * QUEUE_CREATE: the pages of mlaccel_ring.h, made by the kernel, new and zeroed
 * but for the words that say where indices start. They are mapped from `fd`, at the
 * offsets that mlring_compute_layout() tells for depth and page size: submission
 * pages writable, the others read-only and never anything else. `fd` is also what
 * is handed to the daemon, which gives it to the worker. Whoever holds it can map
 * the pages; the queue ends with the file that made it, not with `fd`.
 *
 * `wake_fd` is an eventfd that the kernel signals when the worker says that the
 * client may want to look, and when the queue ends; -1: none.
 *   EBADF    wake_fd is no eventfd
 *   EDQUOT   the user's host bytes
 *   ENOSPC   the file has MLACCEL_QUEUES_MAX
 *   ENODEV   the device has no worker
 *   ECANCELED the context is guilty
 */
#define MLACCEL_QUEUES_MAX	64u	/* of one file */

struct drm_mlaccel_queue_create {
	__u32 context;
	__u32 depth;			/* a power of two, MLRING_DEPTH_MIN to _MAX */
	__s32 wake_fd;
	__u32 flags;			/* zero */
	__u32 queue;			/* out: names it in the calls below */
	__s32 fd;			/* out: close-on-exec */
	__u32 generation;		/* out: of the worker it belongs to */
	__u32 pad;
	__u64 bytes;			/* out: of the layout */
};

MLACCEL_SIZE(drm_mlaccel_queue_create, 40);
MLACCEL_OFFSET(drm_mlaccel_queue_create, queue, 16);
MLACCEL_OFFSET(drm_mlaccel_queue_create, bytes, 32);

/* QUEUE_DESTROY: ends it. Mappings stay, and stay readable. */
struct drm_mlaccel_queue_destroy {
	__u32 queue;
	__u32 pad;
};

MLACCEL_SIZE(drm_mlaccel_queue_destroy, 8);

/*
 * DOORBELL: the worker looks at the queue. Rings that it has not seen yet are one.
 * An impossible submission tail ends the queue here (EPROTO).
 */
struct drm_mlaccel_doorbell {
	__u32 queue;
	__u32 pad;
};

MLACCEL_SIZE(drm_mlaccel_doorbell, 8);

/*
 * FENCE_ARM: a fence that signals when all descriptors up to and including
 * `sequence` are completed, put at `point` of a timeline syncobj, or into a
 * binary one with point 0. It signals in any case: after timeout_ns with
 * ETIMEDOUT, when the queue ends with why it ended.
 *
 * It is bounded: what it depends on must be under way. So `sequence` must have
 * been submitted (EAGAIN), and the fence that after_syncobj holds at after_point
 * must have signalled (EBUSY).
 *   ENOENT   no such syncobj, or none at after_point
 *   ENOSPC   the queue has MLACCEL_FENCES_MAX that have not signalled
 *   EINVAL   also: `point` is not above the timeline's last
 */
#define MLACCEL_FENCES_MAX	256u	/* of one queue */

struct drm_mlaccel_fence_arm {
	__u32 queue;
	__u32 flags;			/* zero */
	__u64 sequence;
	__u32 syncobj;
	__u32 after_syncobj;		/* 0: none */
	__u64 point;
	__u64 after_point;		/* with after_syncobj; 0: a binary one */
	__u64 timeout_ns;		/* 0: the context's; cut to fence_timeout_ns */
};

MLACCEL_SIZE(drm_mlaccel_fence_arm, 48);
MLACCEL_OFFSET(drm_mlaccel_fence_arm, syncobj, 16);
MLACCEL_OFFSET(drm_mlaccel_fence_arm, timeout_ns, 40);

/*
 * WAIT: until all descriptors up to and including `sequence` are completed; it
 * need not have been submitted.
 *   ETIME    the deadline passed first; one that has passed already only looks
 *   ENOSPC   MLACCEL_WAITS_MAX tasks wait for the queue
 */
#define MLACCEL_WAITS_MAX	256u	/* for one queue */

struct drm_mlaccel_wait {
	__u32 queue;
	__u32 flags;			/* zero */
	__u64 sequence;
	__u64 deadline_ns;		/* CLOCK_MONOTONIC, absolute; ~0: none */
	__u64 completed;		/* out: the watermark: all below it are completed */
};

MLACCEL_SIZE(drm_mlaccel_wait, 32);
MLACCEL_OFFSET(drm_mlaccel_wait, completed, 24);

#define DRM_MLACCEL_DEV_QUERY		0x00
#define DRM_MLACCEL_BO_CREATE		0x01
#define DRM_MLACCEL_BO_INFO		0x02
#define DRM_MLACCEL_CTX_CREATE		0x03
#define DRM_MLACCEL_CTX_DESTROY		0x04
#define DRM_MLACCEL_CTX_STATE		0x05
#define DRM_MLACCEL_QUEUE_CREATE	0x06
#define DRM_MLACCEL_QUEUE_DESTROY	0x07
#define DRM_MLACCEL_DOORBELL		0x08
#define DRM_MLACCEL_FENCE_ARM		0x09
#define DRM_MLACCEL_WAIT		0x0a

#define MLACCEL_IOWR(number, type) \
	DRM_IOWR(DRM_COMMAND_BASE + (number), struct type)

#define DRM_IOCTL_MLACCEL_DEV_QUERY \
	MLACCEL_IOWR(DRM_MLACCEL_DEV_QUERY, drm_mlaccel_dev_query)
#define DRM_IOCTL_MLACCEL_BO_CREATE \
	MLACCEL_IOWR(DRM_MLACCEL_BO_CREATE, drm_mlaccel_bo_create)
#define DRM_IOCTL_MLACCEL_BO_INFO \
	MLACCEL_IOWR(DRM_MLACCEL_BO_INFO, drm_mlaccel_bo_info)
#define DRM_IOCTL_MLACCEL_CTX_CREATE \
	MLACCEL_IOWR(DRM_MLACCEL_CTX_CREATE, drm_mlaccel_ctx_create)
#define DRM_IOCTL_MLACCEL_CTX_DESTROY \
	MLACCEL_IOWR(DRM_MLACCEL_CTX_DESTROY, drm_mlaccel_ctx_destroy)
#define DRM_IOCTL_MLACCEL_CTX_STATE \
	MLACCEL_IOWR(DRM_MLACCEL_CTX_STATE, drm_mlaccel_ctx_state)
#define DRM_IOCTL_MLACCEL_QUEUE_CREATE \
	MLACCEL_IOWR(DRM_MLACCEL_QUEUE_CREATE, drm_mlaccel_queue_create)
#define DRM_IOCTL_MLACCEL_QUEUE_DESTROY \
	MLACCEL_IOWR(DRM_MLACCEL_QUEUE_DESTROY, drm_mlaccel_queue_destroy)
#define DRM_IOCTL_MLACCEL_DOORBELL \
	MLACCEL_IOWR(DRM_MLACCEL_DOORBELL, drm_mlaccel_doorbell)
#define DRM_IOCTL_MLACCEL_FENCE_ARM \
	MLACCEL_IOWR(DRM_MLACCEL_FENCE_ARM, drm_mlaccel_fence_arm)
#define DRM_IOCTL_MLACCEL_WAIT \
	MLACCEL_IOWR(DRM_MLACCEL_WAIT, drm_mlaccel_wait)

#if defined(__cplusplus)
}
#endif

#endif
