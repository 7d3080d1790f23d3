/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the module is made of, and who keeps whom alive.
 *
 *   device   a DRM device from DEV_REGISTER to the last close of anything of it.
 *   worker   one life of the process that computes: a file, and a generation of its
 *            device. Referenced by its file and its queues.
 *   client   one open file of a device's node. Referenced by its file and its contexts.
 *   context  referenced by its client, its queues and the memory charged to it.
 *   queue    has a struct file of its own, which its client holds and fences hold:
 *            so a live fence keeps this module loaded, and dropping it runs no
 *            module code that nobody holds. Referenced by that file, by the
 *            worker that maps it and by mappings.
 *   memory   a piece of device memory: a BO's, or a worker's on behalf of a queue.
 *
 * Locks, outer ones first:
 *
 *   control_lock      the list of devices, registering, starting, stopping
 *   client->lock      its contexts and queues
 *   device->lock      its worker, and who is in its lists
 *   device->mm_lock   pool, memory, shares and requests
 *   queue->lock       its state, progress and marks (also taken by timers)
 *   worker->lock      what it is to be told
 *   account_lock
 */
#ifndef MLACCEL_H
#define MLACCEL_H

#include <linux/idr.h>
#include <linux/kref.h>
#include <linux/mutex.h>
#include <linux/platform_device.h>
#include <linux/spinlock.h>
#include <linux/uidgid.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>
#include <drm/drm_device.h>
#include <drm/drm_file.h>
#include <drm/drm_gem.h>

#include "mlaccel_account.h"
#include "mlaccel_compat.h"
#include "mlaccel_marks.h"
#include "mlaccel_pool.h"
#include "mlaccel_progress.h"
#include "uapi/mlaccel_control.h"
#include "uapi/mlaccel_drm.h"

struct dma_fence;
struct drm_syncobj;
struct eventfd_ctx;
struct mlaccel_queue;

/*
 * For what is charged and allocated under one of these locks, or of DRM's: in a
 * group that is full it fails at once. Else the OOM killer of the group is asked
 * as long as it finds somebody, and whoever wants the lock waits for that.
 */
#define MLACCEL_GFP_LOCKED \
	(GFP_KERNEL_ACCOUNT | __GFP_NORETRY | __GFP_NOWARN)

/* ---- module parameters (mlaccel_drv.c) ---- */

extern unsigned int mlaccel_host_limit_percent;
extern unsigned int mlaccel_host_total_percent;
extern unsigned int mlaccel_context_timeout_ms;
extern unsigned int mlaccel_fence_timeout_ms;
extern unsigned int mlaccel_evict_timeout_ms;
extern unsigned int mlaccel_watchdog_ms;
extern const struct drm_driver mlaccel_driver;
extern const struct file_operations mlaccel_node_fops;

/* ---- users (mlaccel_user.c) ---- */

/*
 * A uid, on all devices. Whoever is in a user namespace of their own is the uid
 * in the initial one who made it: there are 65,536 others to choose from there.
 */
struct mlaccel_user {
	struct kref ref;
	kuid_t uid;
	struct mlaccel_account host;
	bool kept;			/* has a limit of its own, which must not be forgotten */
};

struct mlaccel_user *mlaccel_user_get(kuid_t uid);
/* Who pays for what the current task makes. */
struct mlaccel_user *mlaccel_user_current(void);
void mlaccel_user_put(struct mlaccel_user *user);
int mlaccel_user_set_host_limit(kuid_t uid, u64 bytes);
void mlaccel_users_forget_limits(void);
u64 mlaccel_host_limit(void);
/* All users together hold more than they may. */
bool mlaccel_host_total_exceeded(void);

/* ---- devices (mlaccel_device.c) ---- */

struct mlaccel_device {
	struct drm_device drm;
	struct platform_device *pdev;
	struct list_head link;		/* control's */
	u32 number;
	char name[MLACCEL_NAME];
	char backend[MLACCEL_NAME];
	char socket[MLACCEL_PATH];
	struct dentry *debugfs;

	struct mutex lock;		/* of the next five */
	struct mlaccel_worker *worker;	/* NULL: stopped */
	u32 generation;
	struct list_head clients;
	unsigned int client_count;
	u32 next_queue;
	struct xarray queues;		/* by number; looked up under RCU */

	struct mutex mm_lock;		/* of all below */
	struct mlaccel_pool pool;
	struct xarray memories;		/* by number */
	u32 next_memory;
	struct list_head shares;
	struct list_head requests;	/* allocations that wait for memory */
	u64 last_request;
	unsigned int untold;		/* of them; read without the lock too */
	wait_queue_head_t freed;
	u64 user_limit;
	u64 client_limit;

	struct delayed_work watchdog;
};

static inline struct mlaccel_device *to_mlaccel(struct drm_device *drm)
{
	return container_of(drm, struct mlaccel_device, drm);
}

struct mlaccel_device *mlaccel_device_register(const struct mlaccel_dev_register *args);
void mlaccel_device_unregister(struct mlaccel_device *dev);
/* A worker's file, not yet installed; stops the one that runs if `replace`. */
struct file *mlaccel_device_start(struct mlaccel_device *dev, bool replace);
int mlaccel_device_stop(struct mlaccel_device *dev);
void mlaccel_device_release(struct drm_device *drm);

/* ---- control node (mlaccel_control.c) ---- */

int mlaccel_control_init(void);
void mlaccel_control_exit(void);
/* Calls of the control node and of workers: any size of structure. */
long mlaccel_ioctl_copied(struct file *file, unsigned int cmd,
			  unsigned long arg,
			  long (*call)(struct file *file, unsigned int number,
				       void *data),
			  const unsigned int *commands, size_t count);

/* ---- workers (mlaccel_worker.c) ---- */

struct mlaccel_worker {
	struct kref ref;
	struct mlaccel_device *dev;
	u32 generation;
	struct mutex maps;		/* of the next two */
	struct list_head queues;	/* mapped */
	unsigned int queue_count;
	spinlock_t lock;		/* of all below */
	bool dead;
	wait_queue_head_t wait;
	struct list_head due[3];	/* queues with events, by priority */
	unsigned int due_count;
	unsigned int turns[3];		/* what is left of each list's turn */
};

struct file *mlaccel_worker_file(struct mlaccel_device *dev, u32 generation);
void mlaccel_worker_put(struct mlaccel_worker *worker);
/* Sets bits of a queue's events; once mapped they are told. */
void mlaccel_worker_post(struct mlaccel_queue *q, u32 bits);
void mlaccel_worker_wake(struct mlaccel_worker *worker);
/* Everything of that generation ends; `worker` was the device's. */
void mlaccel_worker_kill(struct mlaccel_worker *worker);
/* Ends the queues of a worker, NULL: of all, as its death does. */
void mlaccel_worker_end_queues(struct mlaccel_device *dev,
			       struct mlaccel_worker *worker);

/* ---- clients (mlaccel_client.c) ---- */

struct mlaccel_client {
	struct kref ref;
	struct mlaccel_device *dev;
	struct list_head link;
	u64 id;
	kuid_t uid;			/* who opened the file */
	struct pid *opener;		/* the process */
	pid_t pid;
	char comm[TASK_COMM_LEN];
	struct mem_cgroup *memcg;	/* pays for pages, whoever touches them first */
	u32 killed;			/* it was full: `opener` has been killed */
	struct mlaccel_user *user;	/* pays for everything */
	struct mlaccel_share *share;
	struct mlaccel_account host;	/* its part of user->host */
	struct mlaccel_account device;	/* its part of share->account */
	atomic64_t resident;		/* bytes of `host` that have been touched */
	atomic64_t evicted;		/* bytes of `host` that are device memory */
	atomic64_t completed;
	atomic64_t busy_ns;
	atomic_t memories;		/* pieces of device memory, lost ones too */

	struct mutex lock;		/* of all below */
	struct xarray contexts;
	unsigned int context_count;
	struct list_head queues;
	unsigned int queue_count;
};

int mlaccel_client_open(struct drm_device *drm, struct drm_file *file);
void mlaccel_client_close(struct drm_device *drm, struct drm_file *file);
void mlaccel_client_put(struct mlaccel_client *client);
int mlaccel_query_ioctl(struct drm_device *drm, void *data,
			struct drm_file *file);

/* ---- contexts (mlaccel_context.c) ---- */

struct mlaccel_context {
	struct kref ref;
	struct mlaccel_client *client;
	u32 id;
	s32 priority;
	u64 timeout_ns;
	struct mlaccel_account device;
	atomic_t state;			/* MLACCEL_CTX_* */
	atomic_t resets;
	u32 lost;			/* the last generation that counts there */
	atomic_t queues;
	atomic64_t completed;
	atomic64_t busy_ns;
};

/* Under client->lock; takes no reference. */
struct mlaccel_context *mlaccel_context_find(struct mlaccel_client *client,
					     u32 id);
static inline void mlaccel_context_get(struct mlaccel_context *ctx)
{
	kref_get(&ctx->ref);
}

void mlaccel_context_put(struct mlaccel_context *ctx);
void mlaccel_contexts_close(struct mlaccel_client *client);
/* The worker of that generation was lost under it; once for each. */
void mlaccel_context_lost(struct mlaccel_context *ctx, u32 generation);
/* Its queues end: `hung` with ETIMEDOUT, the others with ECANCELED. */
void mlaccel_context_guilty(struct mlaccel_context *ctx,
			    struct mlaccel_queue *hung);
int mlaccel_ctx_create_ioctl(struct drm_device *drm, void *data,
			     struct drm_file *file);
int mlaccel_ctx_destroy_ioctl(struct drm_device *drm, void *data,
			      struct drm_file *file);
int mlaccel_ctx_state_ioctl(struct drm_device *drm, void *data,
			    struct drm_file *file);

/* ---- queues (mlaccel_queue.c) and their pages (mlaccel_pages.c) ---- */

struct mlaccel_pages {
	struct mlring_layout layout;
	struct page **pages;
	unsigned int count;
	struct mlring_submission_header *submission;
	struct mlring_completion_header *completion;
	struct mlring_state *state;
};

struct mlaccel_queue {
	struct kref ref;
	struct rcu_head rcu;
	struct file *file;		/* its own; held by `owner` and by fences */
	struct mlaccel_device *dev;
	struct mlaccel_worker *worker;
	struct mlaccel_context *ctx;
	struct mlaccel_client *owner;	/* NULL once destroyed there */
	struct list_head client_link;
	u32 id;
	u32 generation;
	struct mlaccel_pages pages;
	struct eventfd_ctx *wake;

	spinlock_t lock;		/* of the next three */
	int error;			/* why it ended; 0: it has not */
	struct mlaccel_progress progress;
	struct mlaccel_marks marks;

	struct list_head memories;	/* its worker's, dev->mm_lock */
	struct list_head worker_link;	/* worker->maps */
	bool mapped;			/* worker->lock, like the next two */
	u32 event_bits;
	struct list_head event_link;
};

int mlaccel_pages_alloc(struct mlaccel_pages *pages, u32 depth,
			u32 generation);
void mlaccel_pages_free(struct mlaccel_pages *pages);
int mlaccel_queue_mmap(struct mlaccel_queue *q, struct vm_area_struct *vma,
		       u64 offset, bool is_worker);

struct mlaccel_queue *mlaccel_queue_find(struct mlaccel_device *dev, u32 id);
/* The next one from number *id on, referenced; NULL: there is none. */
struct mlaccel_queue *mlaccel_queue_next(struct mlaccel_device *dev,
					 unsigned long *id);
/* As the client names it, referenced. */
struct mlaccel_queue *mlaccel_queue_of_client(struct drm_file *file, u32 id);
/* The queue behind its file, or NULL for other files. */
struct mlaccel_queue *mlaccel_queue_of_file(struct file *file);
void mlaccel_queue_put(struct mlaccel_queue *q);
/* Reads the pages and wakes what they have passed; returns why it ended, or 0. */
int mlaccel_queue_advance(struct mlaccel_queue *q);
int mlaccel_queue_advance_locked(struct mlaccel_queue *q);
void mlaccel_queue_notify_locked(struct mlaccel_queue *q);
/* Once; later calls change nothing and answer false. */
bool mlaccel_queue_end(struct mlaccel_queue *q, int error);
void mlaccel_queues_close(struct mlaccel_client *client);
int mlaccel_queue_create_ioctl(struct drm_device *drm, void *data,
			       struct drm_file *file);
int mlaccel_queue_destroy_ioctl(struct drm_device *drm, void *data,
				struct drm_file *file);
int mlaccel_doorbell_ioctl(struct drm_device *drm, void *data,
			   struct drm_file *file);

/* ---- what waits for queues ---- */

/* mlaccel_fence.c; under the queue's lock, the mark is taken out already. */
void mlaccel_fence_signal_locked(struct mlaccel_mark *mark, int error);
int mlaccel_fence_arm_ioctl(struct drm_device *drm, void *data,
			    struct drm_file *file);
/* mlaccel_wait.c */
void mlaccel_wait_wake_locked(struct mlaccel_mark *mark, int error);
int mlaccel_wait_ioctl(struct drm_device *drm, void *data,
		       struct drm_file *file);
/* mlaccel_watchdog.c */
void mlaccel_watchdog(struct work_struct *work);
void mlaccel_watchdog_start(struct mlaccel_device *dev);

/* ---- memory (mlaccel_bo.c, mlaccel_dmabuf.c, mlaccel_memory.c, mlaccel_share.c) ---- */

/* A user's part of one device. Under mm_lock. */
struct mlaccel_share {
	struct kref ref;
	struct list_head link;
	struct mlaccel_user *user;
	struct mlaccel_account account;
	bool kept;			/* has a limit of its own */
};

struct mlaccel_share *mlaccel_share_get(struct mlaccel_device *dev,
					struct mlaccel_user *user);
void mlaccel_share_put(struct mlaccel_device *dev, struct mlaccel_share *share);
int mlaccel_share_set_limit(struct mlaccel_device *dev, kuid_t uid, u64 bytes);
void mlaccel_shares_forget_limits(struct mlaccel_device *dev);
/*
 * Who holds more than an equal part, and most of all, while `owed` with `bytes`
 * more, which are charged already, does not; NULL: nobody has to give anything back.
 */
struct mlaccel_share *mlaccel_share_debtor(struct mlaccel_device *dev,
					   struct mlaccel_share *owed,
					   u64 bytes);

/* Device memory, charged to a context as long as it is resident. */
struct mlaccel_memory {
	struct mlaccel_range range;
	struct mlaccel_device *dev;
	struct mlaccel_context *ctx;
	u32 id;
	u32 state;			/* MLACCEL_BO_RESIDENT, EVICTED, LOST */
	u32 generation;			/* of the worker that holds it */
	struct mlaccel_queue *q;	/* NULL: a client's BO; else whose work needs it */
	struct list_head queue_link;	/* q->memories */
};

/* Where a piece is, as of when it was made or moved. */
struct mlaccel_place {
	u32 id;
	u64 address;
	u64 offset;
};

/* What is wanted: for a worker of that generation, and on behalf of `q` if any. */
struct mlaccel_memory_args {
	struct mlaccel_context *ctx;
	struct mlaccel_queue *q;
	u64 size;
	u64 alignment;
	u32 generation;
	bool wait;			/* others may be asked to give some back */
};

/*
 * Holds a reference of ctx. A worker's piece may be gone again when this comes
 * back, so there only `place` is of use.
 */
struct mlaccel_memory *mlaccel_memory_create(struct mlaccel_device *dev,
					     const struct mlaccel_memory_args *args,
					     struct mlaccel_place *place);
void mlaccel_memory_destroy(struct mlaccel_memory *memory);
void mlaccel_memories_of_queue(struct mlaccel_queue *q);
/* A worker of that generation took their content along. */
void mlaccel_memories_lost(struct mlaccel_device *dev, u32 generation);
/* By a worker, of its own generation alone: -ENOENT for others. */
int mlaccel_memory_destroy_numbered(struct mlaccel_worker *w, u32 id);
int mlaccel_memory_evict(struct mlaccel_worker *w, u32 id);
int mlaccel_memory_restore(struct mlaccel_worker *w, u32 id, u64 *offset);
int mlaccel_memory_freed(struct mlaccel_worker *w, u64 request);
/* The next request that has not been told; under nothing. */
bool mlaccel_memory_next_request(struct mlaccel_worker *w,
				 struct mlaccel_event *event);
void mlaccel_memory_retell(struct mlaccel_worker *w, u64 request);

struct mlaccel_bo {
	struct drm_gem_object base;
	struct mlaccel_client *client;	/* who made it; NULL: imported */
	struct mlaccel_user *importer;	/* pays for `sgt` */
	u32 flags;			/* MLACCEL_BO_HOST or DEVICE */
	struct page **pages;		/* host: those that have been touched */
	struct sg_table *sgt;		/* imported */
	struct mlaccel_memory *memory;	/* device */
};

static inline struct mlaccel_bo *to_mlaccel_bo(struct drm_gem_object *obj)
{
	return container_of(obj, struct mlaccel_bo, base);
}

extern const struct drm_gem_object_funcs mlaccel_host_funcs;
extern const struct drm_gem_object_funcs mlaccel_device_funcs;
int mlaccel_bo_init(void);
void mlaccel_bo_exit(void);
/* Every page of a host BO is there and stays; -EINTR when the task is killed. */
int mlaccel_bo_populate(struct mlaccel_bo *bo);
int mlaccel_bo_create_ioctl(struct drm_device *drm, void *data,
			    struct drm_file *file);
int mlaccel_bo_info_ioctl(struct drm_device *drm, void *data,
			  struct drm_file *file);
struct sg_table *mlaccel_bo_sg_table(struct drm_gem_object *obj);
int mlaccel_bo_pin(struct drm_gem_object *obj);
int mlaccel_bo_vmap(struct drm_gem_object *obj, struct iosys_map *map);
void mlaccel_bo_vunmap(struct drm_gem_object *obj, struct iosys_map *map);
int mlaccel_bo_export(struct drm_device *drm, struct drm_file *file,
		      u32 handle, u32 flags, int *fd);
struct drm_gem_object *mlaccel_bo_import(struct drm_device *drm,
					 struct dma_buf_attachment *attach,
					 struct sg_table *sgt);
void mlaccel_bo_free_imported(struct mlaccel_bo *bo);
int mlaccel_bo_mmap_imported(struct drm_gem_object *obj,
			     struct vm_area_struct *vma);
int mlaccel_bo_look(struct mlaccel_device *dev, struct mlaccel_bo_look *args);

/* ---- what others can see ---- */

void mlaccel_show_fdinfo(struct drm_printer *p, struct drm_file *file);
void mlaccel_node_show_fdinfo(struct seq_file *m, struct file *file);
int mlaccel_sysfs_add(struct mlaccel_device *dev);
void mlaccel_sysfs_remove(struct mlaccel_device *dev);
#ifdef CONFIG_DEBUG_FS
void mlaccel_debugfs_init(void);
void mlaccel_debugfs_exit(void);
void mlaccel_debugfs_add(struct mlaccel_device *dev);
void mlaccel_debugfs_remove(struct mlaccel_device *dev);
#else
static inline void mlaccel_debugfs_init(void) {}
static inline void mlaccel_debugfs_exit(void) {}
static inline void mlaccel_debugfs_add(struct mlaccel_device *dev) {}
static inline void mlaccel_debugfs_remove(struct mlaccel_device *dev) {}
#endif

#endif
