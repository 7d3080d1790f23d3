// SPDX-License-Identifier: GPL-2.0
/*
 * Fences that a worker's progress signals. User space decides when, so they are
 * bounded: armed only when what they depend on is under way, never without a
 * timer, never put into a reservation object, and nothing in reclaim waits for them.
 *
 *   FENCE_ARM -> armed: in the queue's marks, timer running
 *     -> the watermark passes its sequence	signalled, 0
 *     -> the queue ends				signalled, why
 *     -> the timer fires				signalled, -ETIMEDOUT
 *
 * Whoever takes the mark out of the list signals. Each fence is a timeline of its
 * own: fences of one queue may signal in any order. It holds the queue's file,
 * and through it this module, until its last user lets go of it.
 */
#include <linux/dma-fence.h>
#include <linux/dma-fence-chain.h>
#include <linux/file.h>
#include <linux/jiffies.h>
#include <linux/ktime.h>
#include <linux/slab.h>
#include <linux/timer.h>
#include <drm/drm_syncobj.h>

#include "mlaccel.h"
#include "mlaccel_trace.h"

struct mlaccel_fence {
	struct dma_fence base;		/* first: it is freed by its address */
	struct mlaccel_mark mark;
	struct timer_list timer;	/* while it runs it holds a reference */
	struct file *file;
	struct mlaccel_queue *q;
};

static const char *fence_driver_name(struct dma_fence *base)
{
	return MLACCEL_DRIVER_NAME;
}

static const char *fence_timeline_name(struct dma_fence *base)
{
	return container_of(base, struct mlaccel_fence, base)->q->dev->name;
}

static void fence_release(struct dma_fence *base)
{
	struct mlaccel_fence *fence =
		container_of(base, struct mlaccel_fence, base);
	struct file *file = fence->file;

	dma_fence_free(base);
	fput(file);
}

static const struct dma_fence_ops fence_ops = {
	.get_driver_name = fence_driver_name,
	.get_timeline_name = fence_timeline_name,
	.release = fence_release,
};

static void signal_locked(struct mlaccel_fence *fence, int error)
{
	if (error)
		dma_fence_set_error(&fence->base, error);
	dma_fence_signal_locked(&fence->base);
}

void mlaccel_fence_signal_locked(struct mlaccel_mark *mark, int error)
{
	struct mlaccel_fence *fence =
		container_of(mark, struct mlaccel_fence, mark);

	signal_locked(fence, error);
	/* A timer that runs already finds the mark gone, and lets go itself. */
	if (del_timer(&fence->timer))
		dma_fence_put(&fence->base);
}

/* What guilt means is for the watchdog to say: it is sent for when it is due. */
static void fence_expired(struct timer_list *timer)
{
	struct mlaccel_fence *fence =
		from_timer(fence, timer, timer);
	struct mlaccel_queue *q = fence->q;
	unsigned long flags;
	bool late = false;

	spin_lock_irqsave(&q->lock, flags);
	/* It may have been completed without anybody saying so. */
	mlaccel_queue_advance_locked(q);
	if (mlaccel_marks_remove(&q->marks, &fence->mark)) {
		late = true;
		signal_locked(fence, -ETIMEDOUT);
		mlaccel_queue_notify_locked(q);
		if (!q->progress.running_since)
			atomic_or(MLACCEL_CTX_INNOCENT, &q->ctx->state);
		/* An active queue's device has not stopped its watchdog yet. */
		else if (mlaccel_progress_hung(&q->progress, ktime_get_ns(),
					       q->ctx->timeout_ns))
			mod_delayed_work(system_wq, &q->dev->watchdog, 0);
	}
	spin_unlock_irqrestore(&q->lock, flags);
	if (late)
		trace_mlaccel_timeout(q, fence->mark.sequence);
	dma_fence_put(&fence->base);
}

/* ---- arming ---- */

static struct mlaccel_fence *fence_alloc(struct mlaccel_queue *q,
					 u64 sequence)
{
	struct mlaccel_fence *fence = kzalloc(sizeof(*fence),
					      GFP_KERNEL_ACCOUNT);

	if (!fence)
		return NULL;
	fence->q = q;
	fence->file = q->file;
	get_file(fence->file);
	mlaccel_mark_init(&fence->mark, sequence, true);
	timer_setup(&fence->timer, fence_expired, 0);
	dma_fence_init(&fence->base, &fence_ops, &q->lock,
		       dma_fence_context_alloc(1), 1);
	return fence;
}

/* What must have signalled first. */
static int check_dependency(struct drm_file *file,
			    const struct drm_mlaccel_fence_arm *args)
{
	struct drm_syncobj *syncobj;
	struct dma_fence *fence;
	int ret = -ENOENT;

	if (!args->after_syncobj)
		return 0;
	syncobj = drm_syncobj_find(file, args->after_syncobj);
	if (!syncobj)
		return -ENOENT;
	fence = drm_syncobj_fence_get(syncobj);
	if (fence) {
		/* Takes over the reference; NULL: that point has signalled. */
		ret = dma_fence_chain_find_seqno(&fence, args->after_point);
		if (!ret && fence && !dma_fence_is_signaled(fence))
			ret = -EBUSY;
		else if (ret)
			ret = -ENOENT;
		dma_fence_put(fence);
	}
	drm_syncobj_put(syncobj);
	return ret;
}

/* A timeline only grows; DRM would take any point. */
static int check_point(struct drm_syncobj *syncobj, u64 point)
{
	struct dma_fence *last = drm_syncobj_fence_get(syncobj);
	struct dma_fence_chain *chain = to_dma_fence_chain(last);
	int ret = 0;

	if (point && chain && last->seqno >= point)
		ret = -EINVAL;
	dma_fence_put(last);
	return ret;
}

/* Into the queue's marks; -EAGAIN when its sequence was not submitted yet. */
static int arm(struct mlaccel_queue *q, struct mlaccel_fence *fence,
	       u64 timeout_ns)
{
	int ret;

	spin_lock_irq(&q->lock);
	ret = mlaccel_queue_advance_locked(q);
	if (!ret && fence->mark.sequence >= q->progress.submitted)
		ret = -EAGAIN;
	if (!ret)
		ret = mlaccel_marks_add(&q->marks, &fence->mark,
					MLACCEL_FENCES_MAX);
	if (!ret) {
		dma_fence_get(&fence->base);
		mod_timer(&fence->timer,
			  jiffies + nsecs_to_jiffies(timeout_ns) + 1);
		mlaccel_queue_notify_locked(q);
		/* The worker may have passed it before it could see that. */
		ret = mlaccel_queue_advance_locked(q);
		if (ret && mlaccel_marks_remove(&q->marks, &fence->mark) &&
		    del_timer(&fence->timer))
			dma_fence_put(&fence->base);
	}
	spin_unlock_irq(&q->lock);
	return ret;
}

static int fence_arm(struct mlaccel_queue *q, struct drm_file *file,
		     const struct drm_mlaccel_fence_arm *args)
{
	u64 most = (u64)READ_ONCE(mlaccel_fence_timeout_ms) * NSEC_PER_MSEC;
	struct dma_fence_chain *chain = NULL;
	struct mlaccel_fence *fence = NULL;
	struct drm_syncobj *syncobj;
	bool ended;
	int ret;

	syncobj = drm_syncobj_find(file, args->syncobj);
	if (!syncobj)
		return -ENOENT;
	ret = check_dependency(file, args) ?: check_point(syncobj, args->point);
	if (ret)
		goto out;
	ret = -ENOMEM;
	if (args->point) {
		chain = dma_fence_chain_alloc();
		if (!chain)
			goto out;
	}
	fence = fence_alloc(q, args->sequence);
	if (!fence)
		goto out;
	ended = READ_ONCE(q->error);
	ret = arm(q, fence, min(args->timeout_ns ?: q->ctx->timeout_ns, most));
	if (ret == -EPROTO && !ended)
		mlaccel_queue_end(q, ret);
	if (ret)
		goto out;
	if (chain)
		drm_syncobj_add_point(syncobj, chain, &fence->base, args->point);
	else
		drm_syncobj_replace_fence(syncobj, &fence->base);
	chain = NULL;
out:
	if (fence)
		dma_fence_put(&fence->base);
	dma_fence_chain_free(chain);
	drm_syncobj_put(syncobj);
	return ret;
}

int mlaccel_fence_arm_ioctl(struct drm_device *drm, void *data,
			    struct drm_file *file)
{
	struct drm_mlaccel_fence_arm *args = data;
	struct mlaccel_client *client = file->driver_priv;
	struct file *queue_file = NULL;
	struct mlaccel_queue *q;
	int ret;

	if (args->flags || (!args->after_syncobj && args->after_point))
		return -EINVAL;
	/* The client's reference of the file is good while it owns the queue. */
	mutex_lock(&client->lock);
	q = mlaccel_queue_of_client(file, args->queue);
	if (q) {
		queue_file = q->file;
		get_file(queue_file);
	}
	mutex_unlock(&client->lock);
	if (!q)
		return -ENOENT;
	ret = fence_arm(q, file, args);
	fput(queue_file);
	mlaccel_queue_put(q);
	return ret;
}
