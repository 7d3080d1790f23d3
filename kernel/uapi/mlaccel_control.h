/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT */
/*
 * What the daemon asks of /dev/mlaccel-control, and a worker of the file that
 * the daemon was given for it. Who may open the node is its mode's business
 * (0600); one process at a time has it open.
 *
 * Life of a device: DEV_REGISTER makes its node, DEV_START gives the fd of its
 * first worker, which the daemon passes on and closes. The last close of that fd
 * is the worker's death; DEV_STOP and DEV_RECOVER end it from outside, DEV_START
 * or DEV_RECOVER give the next one. DEV_UNREGISTER takes the node away. What
 * the control node's holder registered is unregistered when it closes.
 *
 * Structures shorter or longer than the module's are understood as in
 * copy_struct_from_user(): what is missing is zero, what is unknown must be
 * (E2BIG). Flags and pads must be zero (EINVAL).
 */
#ifndef MLACCEL_CONTROL_H
#define MLACCEL_CONTROL_H

#include <linux/ioctl.h>
#include "mlaccel_abi.h"

#if defined(__cplusplus)
extern "C" {
#endif

#define MLACCEL_CONTROL_NODE	"/dev/mlaccel-control"
#define MLACCEL_IOCTL		0xe6

/* ---- the control node ---- */

#define MLACCEL_FEATURE_ACCEL_NODE	1u	/* nodes are /dev/accel/accelN */

struct mlaccel_features {
	__u32 abi;			/* out: MLACCEL_ABI */
	__u32 pad;
	__u64 features;			/* out: MLACCEL_FEATURE_* */
	__u64 host_limit;		/* out: bytes of host memory that one user may hold */
	__u64 fence_timeout_ns;		/* out: module parameter fence_timeout_ms */
};

MLACCEL_SIZE(mlaccel_features, 32);

/*
 * DEV_REGISTER
 *   EEXIST   a device has this name
 *   EINVAL   name or backend empty or unended; memory_bytes 0 or no multiple of
 *            a page; a limit above memory_bytes
 *   ENOSPC   no node left
 */
struct mlaccel_dev_register {
	char name[MLACCEL_NAME];
	char backend[MLACCEL_NAME];
	char socket[MLACCEL_PATH];	/* may be empty */
	__u64 memory_bytes;		/* of the device */
	__u64 user_limit;		/* of one user there, bytes; 0: all of it */
	__u64 client_limit;		/* of one open file; 0: all of it */
	__u32 flags;			/* zero */
	__u32 device;			/* out: from 1, never used twice */
	__u32 minor;			/* out: N of accelN or renderDN */
	__u32 pad;
};

MLACCEL_SIZE(mlaccel_dev_register, 296);
MLACCEL_OFFSET(mlaccel_dev_register, memory_bytes, 256);
MLACCEL_OFFSET(mlaccel_dev_register, device, 284);

/* DEV_UNREGISTER, DEV_STOP (ENOENT no such device; EALREADY it is stopped). */
struct mlaccel_dev {
	__u32 device;
	__u32 pad;
};

MLACCEL_SIZE(mlaccel_dev, 8);

/*
 * DEV_START: a worker for a stopped device (EBUSY: it has one). DEV_RECOVER:
 * stops it if it runs, and starts the next one; both as one step, behind which the
 * device's memory is free. The fd is close-on-exec.
 */
struct mlaccel_dev_start {
	__u32 device;
	__u32 flags;			/* zero */
	__s32 fd;			/* out: the worker's file */
	__u32 generation;		/* out: counts the workers, from 1 */
};

MLACCEL_SIZE(mlaccel_dev_start, 16);

/* SET_LIMIT: of one user. What is held already stays. */
struct mlaccel_set_limit {
	__u32 device;			/* 0: host bytes, on all devices together */
	__u32 uid;
	__u64 bytes;
};

MLACCEL_SIZE(mlaccel_set_limit, 16);

/* ---- a worker's file ---- */

/*
 * read() answers with as many of these as are due and fit, at least one or
 * EAGAIN (O_NONBLOCK) or it waits; EINVAL for less room than one. poll() says
 * POLLIN when there are some, POLLIN and POLLHUP for good once the worker was stopped;
 * read() then answers 0. They are bits of a queue's or the device's state that have
 * been set since they were last read: none can get lost, none is told twice. A FREE
 * whose asker has gone is withdrawn, also behind a poll(): who polls reads with
 * O_NONBLOCK.
 */
#define MLACCEL_EVENT_DOORBELL	1u	/* queue: look at its ring */
#define MLACCEL_EVENT_ENDED	2u	/* queue: stop its work, then QUEUE_UNMAP */
#define MLACCEL_EVENT_HUNG	4u	/* queue: it ended because it hung; with ENDED */
#define MLACCEL_EVENT_FREE	8u	/* the device: see `request`; queue is 0 */

struct mlaccel_event {
	__u32 bits;			/* MLACCEL_EVENT_* */
	__u32 queue;			/* 0: the device */
	__u64 request;			/* FREE: what FREED answers */
	__u64 bytes;			/* FREE: of device memory, */
	__u64 deadline_ns;		/* FREE: before then (CLOCK_MONOTONIC), */
	__u32 uid;			/* FREE: that this user holds */
	__u32 pad;
};

MLACCEL_SIZE(mlaccel_event, 40);
MLACCEL_OFFSET(mlaccel_event, uid, 32);

struct mlaccel_worker_info {
	__u32 device;			/* out */
	__u32 generation;		/* out: of this worker */
	__u32 queues;			/* out: mapped and not unmapped */
	__u32 pad;
	__u64 memory_bytes;		/* out */
	__u64 memory_used;		/* out */
};

MLACCEL_SIZE(mlaccel_worker_info, 32);

/*
 * QUEUE_MAP: takes the queue whose fd a client handed over. Mapped then with
 * mmap() of the worker's file at map_offset plus the layout's offsets: completion
 * pages writable, the others read-only and never anything else. A doorbell rung
 * before is told as an event behind this call.
 *   EBADF    fd is no queue
 *   ESTALE   a queue of another device or another worker
 *   EALREADY it is mapped
 *   ECANCELED, ... why it ended, if it has
 */
struct mlaccel_queue_map {
	__s32 fd;
	__u32 flags;			/* zero */
	__u32 queue;			/* out: names it in events and calls */
	__u32 depth;			/* out */
	__s32 priority;			/* out: -1, 0, 1 */
	__u32 uid;			/* out: whose it is */
	__u32 context;			/* out */
	__s32 pid;			/* out: of the process that opened the client's file */
	__u64 client;			/* out: drm-client-id */
	__u64 map_offset;		/* out */
	__u64 bytes;			/* out: of the layout */
	__u64 timeout_ns;		/* out: of the context */
	__u32 payer;			/* out: whom FREE names for it: maker of a user namespace */
	__u32 pad;
};

MLACCEL_SIZE(mlaccel_queue_map, 72);
MLACCEL_OFFSET(mlaccel_queue_map, client, 32);

/* QUEUE_UNMAP: the worker is done with the queue; an active one ends (CLOSED). */
struct mlaccel_queue_name {
	__u32 queue;
	__u32 pad;
};

MLACCEL_SIZE(mlaccel_queue_name, 8);

/*
 * QUEUE_END: an active queue goes to MLRING_STATE_CLOSED, or FAULTED when its client broke
 * the rules (EALREADY: it has ended).
 */
struct mlaccel_queue_end {
	__u32 queue;
	__u32 state;			/* MLRING_STATE_CLOSED or FAULTED */
};

MLACCEL_SIZE(mlaccel_queue_end, 8);

/*
 * COMPLETE: a doorbell back. Read again: the watermark and the busy time in the
 * completion pages. Waiters and fences at or below it are woken.
 *   ENOENT   no such queue mapped by this worker
 *   ESTALE   generation is not this worker's
 *   EPROTO   a watermark that moved back, or beyond what was submitted: the
 *            queue has ended for it
 *   ...      why the queue ended, if it has
 */
#define MLACCEL_COMPLETE_WAKE	1u	/* signal the client's eventfd */

struct mlaccel_complete {
	__u32 queue;
	__u32 generation;
	__u32 flags;			/* MLACCEL_COMPLETE_* */
	__u32 pad;
	__u64 notify_at;		/* out: what the state page now says */
};

MLACCEL_SIZE(mlaccel_complete, 24);

/*
 * BO_LOOK: what is behind a dma-buf that a client handed over as memory. Only
 * BOs are answered: EBADF for other files, imported memory too, EXDEV for device
 * BOs of other devices, ENODEV for those that went with a worker. A host BO can be
 * mapped from fd: its size never changes and its pages never go, also when the device
 * that it was made on has.
 */
struct mlaccel_bo_look {
	__s32 fd;
	__u32 flags;			/* zero */
	__u64 size;			/* out */
	__u64 client;			/* out: drm-client-id of who made it */
	__u32 uid;			/* out: who opened the file that made it */
	__u32 bo_flags;			/* out: MLACCEL_BO_HOST or DEVICE */
	__u32 bo;			/* out: device: its number; host: 0 */
	__u32 pad;
	__u64 address;			/* out: device */
};

MLACCEL_SIZE(mlaccel_bo_look, 48);

/*
 * BO_CREATE_FOR: device memory that a queue's work needs, charged to its
 * context. It is the worker's: gone with BO_DESTROY, with the queue's QUEUE_UNMAP or with
 * the worker. Errors as for BO_CREATE in mlaccel_drm.h.
 */
#define MLACCEL_BO_NOWAIT	1u	/* ENOSPC at once: ask nobody to give some back */

struct mlaccel_bo_create_for {
	__u32 queue;
	__u32 flags;			/* MLACCEL_BO_NOWAIT */
	__u64 size;
	__u64 alignment;
	__u32 bo;			/* out: number, of this device */
	__u32 pad;
	__u64 address;			/* out */
	__u64 pool_offset;		/* out */
};

MLACCEL_SIZE(mlaccel_bo_create_for, 48);

/*
 * BO_EVICT: the worker has moved its content to host memory; the range is free,
 * the bytes count as host bytes of the user who pays, above their limit and that of all
 * users if need be. Above their own BO_CREATE answers them EDQUOT; above that of all it
 * gives what is free, and asks for no more evictions. BO_RESTORE: back into a range
 * (ENOSPC, EDQUOT). Both EALREADY when it is so. BO_DESTROY: of one made with BO_CREATE_FOR.
 */
struct mlaccel_bo_name {
	__u32 bo;
	__u32 pad;
	__u64 pool_offset;		/* out: BO_RESTORE */
};

MLACCEL_SIZE(mlaccel_bo_name, 16);

/*
 * FREED: the answer to EVENT_FREE, whether or not anything was given back. The
 * waiting allocation tries again at once (ENOENT: nobody waits for it any more).
 */
struct mlaccel_freed {
	__u64 request;
};

MLACCEL_SIZE(mlaccel_freed, 8);

/* Control node. */
#define MLACCEL_GET_FEATURES	_IOWR(MLACCEL_IOCTL, 0x00, struct mlaccel_features)
#define MLACCEL_DEV_REGISTER	_IOWR(MLACCEL_IOCTL, 0x01, struct mlaccel_dev_register)
#define MLACCEL_DEV_UNREGISTER	_IOW(MLACCEL_IOCTL, 0x02, struct mlaccel_dev)
#define MLACCEL_DEV_START	_IOWR(MLACCEL_IOCTL, 0x03, struct mlaccel_dev_start)
#define MLACCEL_DEV_STOP	_IOW(MLACCEL_IOCTL, 0x04, struct mlaccel_dev)
#define MLACCEL_DEV_RECOVER	_IOWR(MLACCEL_IOCTL, 0x05, struct mlaccel_dev_start)
#define MLACCEL_SET_LIMIT	_IOW(MLACCEL_IOCTL, 0x06, struct mlaccel_set_limit)

/* A worker's file. */
#define MLACCEL_WORKER_INFO	_IOWR(MLACCEL_IOCTL, 0x20, struct mlaccel_worker_info)
#define MLACCEL_QUEUE_MAP	_IOWR(MLACCEL_IOCTL, 0x21, struct mlaccel_queue_map)
#define MLACCEL_QUEUE_UNMAP	_IOW(MLACCEL_IOCTL, 0x22, struct mlaccel_queue_name)
#define MLACCEL_QUEUE_END	_IOW(MLACCEL_IOCTL, 0x23, struct mlaccel_queue_end)
#define MLACCEL_COMPLETE	_IOWR(MLACCEL_IOCTL, 0x24, struct mlaccel_complete)
#define MLACCEL_BO_LOOK		_IOWR(MLACCEL_IOCTL, 0x25, struct mlaccel_bo_look)
#define MLACCEL_BO_CREATE_FOR	_IOWR(MLACCEL_IOCTL, 0x26, struct mlaccel_bo_create_for)
#define MLACCEL_BO_DESTROY	_IOW(MLACCEL_IOCTL, 0x27, struct mlaccel_bo_name)
#define MLACCEL_BO_EVICT	_IOW(MLACCEL_IOCTL, 0x28, struct mlaccel_bo_name)
#define MLACCEL_BO_RESTORE	_IOWR(MLACCEL_IOCTL, 0x29, struct mlaccel_bo_name)
#define MLACCEL_FREED		_IOW(MLACCEL_IOCTL, 0x2a, struct mlaccel_freed)

#if defined(__cplusplus)
}
#endif

#endif
