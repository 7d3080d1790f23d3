// SPDX-License-Identifier: GPL-2.0
/*
 * A queue's life:
 *
 *   QUEUE_CREATE -> active -> mapped by the worker -> ended, once, for one reason:
 *
 *     -ECANCELED	CLOSED	its client, its context or its worker let go of it
 *     -EPROTO		FAULTED	one side broke the rules of the ring
 *     -ETIMEDOUT	LOST	its work hung
 *     -ENODEV		LOST	its worker died
 *
 * Ending looks at the pages a last time, signals what has been completed and
 * what has not, each with its own answer, and tells both sides. The structure goes
 * with the last of: the client's handle, its file, mappings, fences, the worker's map.
 * No queue outlives its worker: the next one gets new pages.
 */
#include <linux/anon_inodes.h>
#include <linux/eventfd.h>
#include <linux/file.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/slab.h>

#include "mlaccel.h"
#include "mlaccel_trace.h"

/* ---- references ---- */

struct mlaccel_queue *mlaccel_queue_find(struct mlaccel_device *dev, u32 id)
{
	struct mlaccel_queue *q;

	rcu_read_lock();
	q = xa_load(&dev->queues, id);
	if (q && !kref_get_unless_zero(&q->ref))
		q = NULL;
	rcu_read_unlock();
	return q;
}

struct mlaccel_queue *mlaccel_queue_next(struct mlaccel_device *dev,
					 unsigned long *id)
{
	struct mlaccel_queue *q;

	rcu_read_lock();
	while ((q = xa_find(&dev->queues, id, ULONG_MAX, XA_PRESENT))) {
		++*id;
		if (kref_get_unless_zero(&q->ref))
			break;
	}
	rcu_read_unlock();
	return q;
}

struct mlaccel_queue *mlaccel_queue_of_client(struct drm_file *file, u32 id)
{
	struct mlaccel_client *client = file->driver_priv;
	struct mlaccel_queue *q = mlaccel_queue_find(client->dev, id);

	if (q && READ_ONCE(q->owner) != client) {
		mlaccel_queue_put(q);
		return NULL;
	}
	return q;
}

static void queue_release(struct kref *ref)
{
	struct mlaccel_queue *q = container_of(ref, struct mlaccel_queue, ref);
	struct mlaccel_device *dev = q->dev;

	if (q->id)
		xa_erase(&dev->queues, q->id);
	mlaccel_uncharge(&q->ctx->client->host, q->pages.layout.bytes);
	mlaccel_pages_free(&q->pages);
	if (q->wake)
		eventfd_ctx_put(q->wake);
	mlaccel_context_put(q->ctx);
	if (q->worker)
		mlaccel_worker_put(q->worker);
	kfree_rcu(q, rcu);
	drm_dev_put(&dev->drm);
}

void mlaccel_queue_put(struct mlaccel_queue *q)
{
	kref_put(&q->ref, queue_release);
}

/* ---- progress ---- */

/* Behind any change of the marks: what the worker has to call COMPLETE for. */
void mlaccel_queue_notify_locked(struct mlaccel_queue *q)
{
	MLRING_STORE(&q->pages.state->notify_at,
		     mlaccel_marks_lowest(&q->marks));
	MLRING_FULL_FENCE();
}

static void wake_mark_locked(struct mlaccel_mark *mark, int error)
{
	if (mark->is_fence)
		mlaccel_fence_signal_locked(mark, error);
	else
		mlaccel_wait_wake_locked(mark, error);
}

/* False: there were none. */
static bool wake_passed_locked(struct mlaccel_queue *q)
{
	struct mlaccel_mark *mark;
	bool any = false;

	while ((mark = mlaccel_marks_take(&q->marks, q->progress.completed))) {
		wake_mark_locked(mark, 0);
		any = true;
	}
	return any;
}

/* Reads both sides' words and adds up what has come of it. */
static int look_locked(struct mlaccel_queue *q)
{
	struct mlaccel_progress *p = &q->progress;
	u64 completed = p->completed, busy = p->busy_ns;
	struct mlaccel_context *ctx = q->ctx;
	int ret;

	ret = mlaccel_progress_look(p, q->pages.submission,
				    q->pages.completion, ktime_get_ns());
	completed = p->completed - completed;
	busy = p->busy_ns - busy;
	if (completed) {
		atomic64_add(completed, &ctx->completed);
		atomic64_add(completed, &ctx->client->completed);
	}
	if (busy) {
		atomic64_add(busy, &ctx->busy_ns);
		atomic64_add(busy, &ctx->client->busy_ns);
	}
	return ret;
}

/* 0, why it has ended, or -EPROTO when it must end now. */
int mlaccel_queue_advance_locked(struct mlaccel_queue *q)
{
	int ret;

	if (q->error)
		return q->error;
	/* Again when notify_at has moved: the worker may have passed it unseen. */
	do {
		ret = look_locked(q);
		if (ret || !wake_passed_locked(q))
			return ret;
		mlaccel_queue_notify_locked(q);
	} while (!list_empty(&q->marks.list));
	return 0;
}

int mlaccel_queue_advance(struct mlaccel_queue *q)
{
	unsigned long flags;
	bool ended;
	int ret;

	spin_lock_irqsave(&q->lock, flags);
	ended = q->error;
	ret = mlaccel_queue_advance_locked(q);
	spin_unlock_irqrestore(&q->lock, flags);
	if (ret && !ended)
		mlaccel_queue_end(q, ret);
	return ret;
}

static u32 ring_state(int error)
{
	switch (error) {
	case -EPROTO:
		return MLRING_STATE_FAULTED;
	case -ECANCELED:
		return MLRING_STATE_CLOSED;
	default:
		return MLRING_STATE_LOST;
	}
}

bool mlaccel_queue_end(struct mlaccel_queue *q, int error)
{
	struct mlring_state *state = q->pages.state;
	struct mlaccel_mark *mark;
	u32 next = ring_state(error);
	unsigned long flags;
	bool first;

	spin_lock_irqsave(&q->lock, flags);
	first = !q->error;
	if (first) {
		if (!look_locked(q))
			wake_passed_locked(q);
		WRITE_ONCE(q->error, error);
		while ((mark = mlaccel_marks_take_any(&q->marks)))
			wake_mark_locked(mark, error);
		mlaccel_queue_notify_locked(q);
		if (next == MLRING_STATE_LOST)
			MLRING_STORE(&state->generation, q->generation + 1);
		MLRING_STORE_RELEASE(&state->state, next);
	}
	spin_unlock_irqrestore(&q->lock, flags);
	if (!first)
		return false;
	trace_mlaccel_queue_end(q, error);
	if (q->wake)
		mlaccel_eventfd_signal(q->wake);
	mlaccel_worker_post(q, MLACCEL_EVENT_ENDED |
			    (error == -ETIMEDOUT ? MLACCEL_EVENT_HUNG : 0));
	return true;
}

/* ---- its file ---- */

static int queue_file_mmap(struct file *file, struct vm_area_struct *vma)
{
	return mlaccel_queue_mmap(file->private_data, vma,
				  (u64)vma->vm_pgoff << PAGE_SHIFT, false);
}

static int queue_file_release(struct inode *inode, struct file *file)
{
	mlaccel_queue_put(file->private_data);
	return 0;
}

static const struct file_operations queue_fops = {
	.owner		= THIS_MODULE,
	.mmap		= queue_file_mmap,
	.release	= queue_file_release,
	.llseek		= noop_llseek,
};

struct mlaccel_queue *mlaccel_queue_of_file(struct file *file)
{
	return file->f_op == &queue_fops ? file->private_data : NULL;
}

/* ---- making one ---- */

static struct mlaccel_queue *queue_alloc(struct mlaccel_context *ctx,
					 const struct drm_mlaccel_queue_create *args)
{
	struct mlaccel_account *host = &ctx->client->host;
	struct mlring_layout layout;
	struct mlaccel_queue *q;
	int ret;

	if (!mlring_compute_layout(&layout, args->depth, PAGE_SIZE))
		return ERR_PTR(-EINVAL);
	q = kzalloc(sizeof(*q), GFP_KERNEL_ACCOUNT);
	if (!q)
		return ERR_PTR(-ENOMEM);
	kref_init(&q->ref);
	INIT_LIST_HEAD(&q->client_link);
	INIT_LIST_HEAD(&q->memories);
	INIT_LIST_HEAD(&q->worker_link);
	INIT_LIST_HEAD(&q->event_link);
	spin_lock_init(&q->lock);
	mlaccel_progress_init(&q->progress, args->depth, ktime_get_ns());
	mlaccel_marks_init(&q->marks);
	if (args->wake_fd != -1) {
		q->wake = eventfd_ctx_fdget(args->wake_fd);
		if (IS_ERR(q->wake)) {
			ret = -EBADF;
			goto free;
		}
	}
	ret = mlaccel_charge(host, layout.bytes);
	if (ret)
		goto put_wake;
	ret = mlaccel_pages_alloc(&q->pages, args->depth, 0);
	if (ret)
		goto uncharge;
	mlaccel_context_get(ctx);
	q->ctx = ctx;
	return q;
uncharge:
	mlaccel_uncharge(host, layout.bytes);
put_wake:
	if (q->wake)
		eventfd_ctx_put(q->wake);
free:
	kfree(q);
	return ERR_PTR(ret);
}

/* Takes the worker that runs now, and a number; -ENODEV. */
static int attach_to_worker(struct mlaccel_device *dev,
			    struct mlaccel_queue *q)
{
	int ret = -ENODEV;
	u32 id;

	mutex_lock(&dev->lock);
	if (dev->worker) {
		q->worker = dev->worker;
		kref_get(&q->worker->ref);
		q->generation = q->worker->generation;
		q->pages.state->generation = q->generation;
		ret = xa_alloc_cyclic(&dev->queues, &id, q, xa_limit_31b,
				      &dev->next_queue, MLACCEL_GFP_LOCKED);
		if (ret >= 0)
			q->id = id;
	}
	mutex_unlock(&dev->lock);
	return min(ret, 0);
}

/* A queue with its file and a number in the device; the file is its holder. */
static struct file *queue_open(struct mlaccel_device *dev,
			       struct mlaccel_context *ctx,
			       const struct drm_mlaccel_queue_create *args)
{
	struct mlaccel_queue *q = queue_alloc(ctx, args);
	struct file *file;
	int ret;

	if (IS_ERR(q))
		return ERR_CAST(q);
	drm_dev_get(&dev->drm);
	q->dev = dev;
	/* Whoever finds its number finds a whole queue: the file comes first. */
	file = anon_inode_getfile("mlaccel-queue", &queue_fops, q,
				  O_RDWR | O_CLOEXEC);
	if (IS_ERR(file)) {
		mlaccel_queue_put(q);
		return file;
	}
	q->file = file;
	ret = attach_to_worker(dev, q);
	if (ret) {
		fput(file);
		return ERR_PTR(ret);
	}
	return file;
}

/* Under client->lock: the context, if it may have one more queue. */
static struct mlaccel_context *find_context(struct mlaccel_client *client,
					    u32 id)
{
	struct mlaccel_context *ctx = mlaccel_context_find(client, id);

	if (!ctx)
		return ERR_PTR(-ENOENT);
	if (atomic_read(&ctx->state) & MLACCEL_CTX_GUILTY)
		return ERR_PTR(-ECANCELED);
	if (client->queue_count >= MLACCEL_QUEUES_MAX)
		return ERR_PTR(-ENOSPC);
	return ctx;
}

int mlaccel_queue_create_ioctl(struct drm_device *drm, void *data,
			       struct drm_file *file)
{
	struct drm_mlaccel_queue_create *args = data;
	struct mlaccel_client *client = file->driver_priv;
	struct mlaccel_context *ctx, *now;
	struct mlaccel_queue *q;
	struct file *queue_file;
	int fd, ret = 0;

	if (args->flags || args->pad || args->wake_fd < -1 ||
	    !mlring_depth_ok(args->depth))
		return -EINVAL;
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		return fd;
	mutex_lock(&client->lock);
	ctx = find_context(client, args->context);
	if (!IS_ERR(ctx))
		mlaccel_context_get(ctx);
	mutex_unlock(&client->lock);
	if (IS_ERR(ctx)) {
		ret = PTR_ERR(ctx);
		goto put_fd;
	}
	/* Not under the lock: that waits for memory. */
	queue_file = queue_open(to_mlaccel(drm), ctx, args);
	if (IS_ERR(queue_file)) {
		ret = PTR_ERR(queue_file);
		goto put_context;
	}
	mutex_lock(&client->lock);
	/* Its number may be another context's by now. */
	now = find_context(client, args->context);
	if (now != ctx) {
		mutex_unlock(&client->lock);
		ret = IS_ERR(now) ? PTR_ERR(now) : -ENOENT;
		fput(queue_file);
		goto put_context;
	}
	q = queue_file->private_data;
	WRITE_ONCE(q->owner, client);
	list_add_tail(&q->client_link, &client->queues);
	client->queue_count++;
	atomic_inc(&ctx->queues);
	args->queue = q->id;
	args->fd = fd;
	args->generation = q->generation;
	args->bytes = q->pages.layout.bytes;
	/* One reference of the file is the client's, one the descriptor's. */
	fd_install(fd, get_file(queue_file));
	mutex_unlock(&client->lock);
put_context:
	mlaccel_context_put(ctx);
put_fd:
	if (ret)
		put_unused_fd(fd);
	return ret;
}

/* ---- letting go of it ---- */

/* Under client->lock. */
static void disown(struct mlaccel_client *client, struct mlaccel_queue *q)
{
	WRITE_ONCE(q->owner, NULL);
	list_del_init(&q->client_link);
	client->queue_count--;
	atomic_dec(&q->ctx->queues);
	mlaccel_queue_end(q, -ECANCELED);
	fput(q->file);
}

void mlaccel_queues_close(struct mlaccel_client *client)
{
	struct mlaccel_queue *q, *next;

	mutex_lock(&client->lock);
	list_for_each_entry_safe(q, next, &client->queues, client_link)
		disown(client, q);
	mutex_unlock(&client->lock);
}

int mlaccel_queue_destroy_ioctl(struct drm_device *drm, void *data,
				struct drm_file *file)
{
	struct drm_mlaccel_queue_destroy *args = data;
	struct mlaccel_client *client = file->driver_priv;
	struct mlaccel_queue *q;
	int ret = -ENOENT;

	if (args->pad)
		return -EINVAL;
	mutex_lock(&client->lock);
	q = mlaccel_queue_of_client(file, args->queue);
	if (q) {
		disown(client, q);
		mlaccel_queue_put(q);
		ret = 0;
	}
	mutex_unlock(&client->lock);
	return ret;
}

/* ---- the doorbell ---- */

int mlaccel_doorbell_ioctl(struct drm_device *drm, void *data,
			   struct drm_file *file)
{
	struct drm_mlaccel_doorbell *args = data;
	struct mlaccel_queue *q;
	unsigned long flags;
	bool ended;
	u64 before;
	int ret;

	if (args->pad)
		return -EINVAL;
	q = mlaccel_queue_of_client(file, args->queue);
	if (!q)
		return -ENOENT;
	spin_lock_irqsave(&q->lock, flags);
	ended = q->error;
	before = q->progress.submitted;
	ret = q->error ?: mlaccel_progress_look_submitted(&q->progress,
							  q->pages.submission,
							  q->pages.completion);
	spin_unlock_irqrestore(&q->lock, flags);
	if (!ret) {
		trace_mlaccel_submit(q, before);
		trace_mlaccel_doorbell(q);
		mlaccel_worker_post(q, MLACCEL_EVENT_DOORBELL);
	} else if (!ended) {
		mlaccel_queue_end(q, ret);
	}
	mlaccel_queue_put(q);
	return ret;
}
