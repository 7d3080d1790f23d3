// SPDX-License-Identifier: GPL-2.0
/*
 * A worker: the file through which a process computes for a device. Its last
 * close is the worker's death, DEV_STOP and DEV_RECOVER are the same from
 * outside; the file is then of no more use. It tells events, which are bits of
 * queues and of the device: setting one twice is setting it once, so there is
 * nothing that a flood could fill.
 */
#include <linux/anon_inodes.h>
#include <linux/eventfd.h>
#include <linux/file.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "mlaccel.h"
#include "mlaccel_trace.h"

/* Events copied at a time, and how many of 8 each priority gets while others wait. */
#define BATCH	8
static const unsigned int turns[3] = { 1, 2, 5 };

/* Which of the lists a queue stands in. */
static struct list_head *due_list(struct mlaccel_worker *w,
				  const struct mlaccel_queue *q)
{
	return &w->due[q->ctx->priority + 1];
}

static void worker_release(struct kref *ref)
{
	struct mlaccel_worker *w = container_of(ref, struct mlaccel_worker, ref);
	struct mlaccel_device *dev = w->dev;

	mutex_destroy(&w->maps);
	kfree(w);
	drm_dev_put(&dev->drm);
}

void mlaccel_worker_put(struct mlaccel_worker *w)
{
	kref_put(&w->ref, worker_release);
}

/* ---- events ---- */

static bool make_due_locked(struct mlaccel_worker *w, struct mlaccel_queue *q)
{
	if (!q->mapped || !q->event_bits || !list_empty(&q->event_link))
		return false;
	list_add_tail(&q->event_link, due_list(w, q));
	w->due_count++;
	return true;
}

static void take_due_locked(struct mlaccel_worker *w, struct mlaccel_queue *q)
{
	if (list_empty(&q->event_link))
		return;
	list_del_init(&q->event_link);
	w->due_count--;
}

void mlaccel_worker_post(struct mlaccel_queue *q, u32 bits)
{
	struct mlaccel_worker *w = q->worker;
	unsigned long flags;
	bool wake;

	spin_lock_irqsave(&w->lock, flags);
	q->event_bits |= bits;
	wake = make_due_locked(w, q);
	spin_unlock_irqrestore(&w->lock, flags);
	if (wake)
		mlaccel_worker_wake(w);
}

void mlaccel_worker_wake(struct mlaccel_worker *w)
{
	wake_up_interruptible_poll(&w->wait, EPOLLIN | EPOLLRDNORM);
}

static bool anything_due(struct mlaccel_worker *w)
{
	return READ_ONCE(w->due_count) || READ_ONCE(w->dev->untold);
}

/*
 * The queue whose turn it is: of the highest priority that has some of its turn
 * left, so the lowest is told within eight events however many others ring.
 */
static struct mlaccel_queue *next_due_locked(struct mlaccel_worker *w)
{
	int pass, list;

	for (pass = 0; pass < 2; pass++) {
		for (list = ARRAY_SIZE(w->due) - 1; list >= 0; list--) {
			if (list_empty(&w->due[list]) || !w->turns[list])
				continue;
			w->turns[list]--;
			return list_first_entry(&w->due[list],
						struct mlaccel_queue,
						event_link);
		}
		memcpy(w->turns, turns, sizeof(turns));
	}
	return NULL;
}

/* Takes events of queues; each of `queues` is referenced. */
static unsigned int take_events(struct mlaccel_worker *w,
				struct mlaccel_event *events,
				struct mlaccel_queue **queues,
				unsigned int room)
{
	unsigned int count = 0;
	struct mlaccel_queue *q;

	spin_lock_irq(&w->lock);
	while (count < room && (q = next_due_locked(w))) {
		take_due_locked(w, q);
		kref_get(&q->ref);
		queues[count] = q;
		events[count].bits = q->event_bits;
		events[count].queue = q->id;
		q->event_bits = 0;
		count++;
	}
	spin_unlock_irq(&w->lock);
	return count;
}

/* A batch of events to user space; how many, 0: none are due. */
static ssize_t read_batch(struct mlaccel_worker *w, char __user *to,
			  size_t room)
{
	struct mlaccel_event events[BATCH] = {};
	struct mlaccel_queue *queues[BATCH];
	unsigned int count = 0, requests = 0, i;
	bool failed;

	room = min_t(size_t, room, BATCH);
	while (READ_ONCE(w->dev->untold) && requests < room &&
	       mlaccel_memory_next_request(w, &events[requests]))
		requests++;
	count = take_events(w, events + requests, queues, room - requests);
	failed = copy_to_user(to, events,
			      (requests + count) * sizeof(events[0]));
	for (i = 0; failed && i < requests; i++)
		mlaccel_memory_retell(w, events[i].request);
	for (i = 0; i < count; i++) {
		if (failed)
			mlaccel_worker_post(queues[i], events[requests + i].bits);
		mlaccel_queue_put(queues[i]);
	}
	return failed ? -EFAULT : (ssize_t)(requests + count);
}

static ssize_t worker_read(struct file *file, char __user *to, size_t bytes,
			   loff_t *offset)
{
	struct mlaccel_worker *w = file->private_data;
	size_t room = bytes / sizeof(struct mlaccel_event);
	size_t done = 0;
	ssize_t ret;

	if (!room)
		return -EINVAL;
	for (;;) {
		if (READ_ONCE(w->dead))
			return 0;
		while (done < room) {
			ret = read_batch(w, to + done * sizeof(struct mlaccel_event),
					 room - done);
			if (ret < 0 && !done)
				return ret;
			if (ret <= 0)
				break;
			done += ret;
			cond_resched();
		}
		if (done)
			return done * sizeof(struct mlaccel_event);
		if (file->f_flags & O_NONBLOCK)
			return -EAGAIN;
		/* What was due may be gone each time: that must not be for ever. */
		if (signal_pending(current))
			return -ERESTARTSYS;
		ret = wait_event_interruptible(w->wait, anything_due(w) ||
					       READ_ONCE(w->dead));
		if (ret)
			return ret;
	}
}

static __poll_t worker_poll(struct file *file, poll_table *wait)
{
	struct mlaccel_worker *w = file->private_data;

	poll_wait(file, &w->wait, wait);
	if (READ_ONCE(w->dead))
		return EPOLLIN | EPOLLRDNORM | EPOLLHUP;
	return anything_due(w) ? EPOLLIN | EPOLLRDNORM : 0;
}

/* ---- queues ---- */

/* One that this worker has mapped; referenced, or NULL. */
static struct mlaccel_queue *find_mapped(struct mlaccel_worker *w, u32 id)
{
	struct mlaccel_queue *q = mlaccel_queue_find(w->dev, id);

	if (q && (q->worker != w || !READ_ONCE(q->mapped))) {
		mlaccel_queue_put(q);
		return NULL;
	}
	return q;
}

static long queue_map(struct mlaccel_worker *w, struct mlaccel_queue_map *args)
{
	struct file *file;
	struct mlaccel_queue *q;
	bool was_mapped;
	long ret = 0;

	if (args->flags || args->pad)
		return -EINVAL;
	file = fget(args->fd);
	q = file ? mlaccel_queue_of_file(file) : NULL;
	if (!q) {
		ret = -EBADF;
	} else if (q->worker != w) {
		ret = -ESTALE;
	} else {
		mutex_lock(&w->maps);
		ret = READ_ONCE(q->error);
		if (!ret) {
			spin_lock_irq(&w->lock);
			was_mapped = q->mapped;
			q->mapped = true;
			make_due_locked(w, q);
			spin_unlock_irq(&w->lock);
			ret = was_mapped ? -EALREADY : 0;
		}
		if (!ret) {
			kref_get(&q->ref);
			list_add_tail(&q->worker_link, &w->queues);
			w->queue_count++;
			args->queue = q->id;
			args->depth = q->pages.layout.depth;
			args->priority = q->ctx->priority;
			args->uid = from_kuid_munged(current_user_ns(),
						     q->ctx->client->uid);
			args->context = q->ctx->id;
			args->pid = q->ctx->client->pid;
			args->client = q->ctx->client->id;
			args->map_offset = (u64)q->id << 24;
			args->bytes = q->pages.layout.bytes;
			args->timeout_ns = q->ctx->timeout_ns;
			args->payer = from_kuid_munged(current_user_ns(),
						       q->ctx->client->user->uid);
		}
		mutex_unlock(&w->maps);
	}
	if (file)
		fput(file);
	/* A rung doorbell may have become due. */
	if (!ret && anything_due(w))
		mlaccel_worker_wake(w);
	return ret;
}

/* Drops the worker's reference. */
static void unmap(struct mlaccel_worker *w, struct mlaccel_queue *q)
{
	spin_lock_irq(&w->lock);
	q->mapped = false;
	take_due_locked(w, q);
	spin_unlock_irq(&w->lock);
	mlaccel_queue_end(q, -ECANCELED);
	mlaccel_memories_of_queue(q);
	mlaccel_queue_put(q);
}

static long queue_unmap(struct mlaccel_worker *w,
			const struct mlaccel_queue_name *args)
{
	struct mlaccel_queue *q, *found = NULL;

	if (args->pad)
		return -EINVAL;
	mutex_lock(&w->maps);
	list_for_each_entry(q, &w->queues, worker_link)
		if (q->id == args->queue) {
			found = q;
			list_del_init(&q->worker_link);
			w->queue_count--;
			break;
		}
	mutex_unlock(&w->maps);
	if (!found)
		return -ENOENT;
	unmap(w, found);
	return 0;
}

static long queue_end(struct mlaccel_worker *w,
		      const struct mlaccel_queue_end *args)
{
	struct mlaccel_queue *q;
	bool ended;

	if (args->state != MLRING_STATE_CLOSED &&
	    args->state != MLRING_STATE_FAULTED)
		return -EINVAL;
	q = find_mapped(w, args->queue);
	if (!q)
		return -ENOENT;
	ended = mlaccel_queue_end(q, args->state == MLRING_STATE_FAULTED ?
					     -EPROTO : -ECANCELED);
	mlaccel_queue_put(q);
	return ended ? 0 : -EALREADY;
}

static long complete_call(struct mlaccel_worker *w,
			  struct mlaccel_complete *args)
{
	struct mlaccel_queue *q;
	int ret;

	if (args->pad || args->flags & ~MLACCEL_COMPLETE_WAKE)
		return -EINVAL;
	q = find_mapped(w, args->queue);
	if (!q)
		return -ENOENT;
	if (args->generation != w->generation) {
		ret = -ESTALE;
	} else {
		ret = mlaccel_queue_advance(q);
		trace_mlaccel_complete(q, args->flags, ret);
	}
	if (!ret) {
		args->notify_at = READ_ONCE(q->pages.state->notify_at);
		if ((args->flags & MLACCEL_COMPLETE_WAKE) && q->wake)
			mlaccel_eventfd_signal(q->wake);
	}
	mlaccel_queue_put(q);
	return ret;
}

/* ---- memory ---- */

static long bo_create_for(struct mlaccel_worker *w,
			  struct mlaccel_bo_create_for *args)
{
	struct mlaccel_memory *memory;
	struct mlaccel_place place;
	struct mlaccel_queue *q;

	if (args->pad || args->flags & ~MLACCEL_BO_NOWAIT)
		return -EINVAL;
	q = find_mapped(w, args->queue);
	if (!q)
		return -ENOENT;
	memory = mlaccel_memory_create(w->dev, &(struct mlaccel_memory_args){
		.ctx = q->ctx,
		.q = q,
		.size = args->size,
		.alignment = args->alignment,
		.generation = w->generation,
		.wait = !(args->flags & MLACCEL_BO_NOWAIT),
	}, &place);
	if (!IS_ERR(memory)) {
		args->bo = place.id;
		args->address = place.address;
		args->pool_offset = place.offset;
	}
	mlaccel_queue_put(q);
	return PTR_ERR_OR_ZERO(memory);
}

static long bo_call(struct mlaccel_worker *w, unsigned int number,
		    struct mlaccel_bo_name *args)
{
	if (args->pad)
		return -EINVAL;
	switch (number) {
	case MLACCEL_BO_EVICT:
		return mlaccel_memory_evict(w, args->bo);
	case MLACCEL_BO_RESTORE:
		return mlaccel_memory_restore(w, args->bo, &args->pool_offset);
	default:
		return mlaccel_memory_destroy_numbered(w, args->bo);
	}
}

/* ---- the file ---- */

static long worker_info(struct mlaccel_worker *w,
			struct mlaccel_worker_info *args)
{
	struct mlaccel_device *dev = w->dev;

	if (args->pad)
		return -EINVAL;
	args->device = dev->number;
	args->generation = w->generation;
	mutex_lock(&w->maps);
	args->queues = w->queue_count;
	mutex_unlock(&w->maps);
	mutex_lock(&dev->mm_lock);
	args->memory_bytes = dev->pool.bytes;
	args->memory_used = dev->pool.used;
	mutex_unlock(&dev->mm_lock);
	return 0;
}

static long worker_call(struct file *file, unsigned int number, void *data)
{
	struct mlaccel_worker *w = file->private_data;

	if (READ_ONCE(w->dead))
		return -ENODEV;
	switch (number) {
	case MLACCEL_WORKER_INFO:
		return worker_info(w, data);
	case MLACCEL_QUEUE_MAP:
		return queue_map(w, data);
	case MLACCEL_QUEUE_UNMAP:
		return queue_unmap(w, data);
	case MLACCEL_QUEUE_END:
		return queue_end(w, data);
	case MLACCEL_COMPLETE:
		return complete_call(w, data);
	case MLACCEL_BO_LOOK:
		return mlaccel_bo_look(w->dev, data);
	case MLACCEL_BO_CREATE_FOR:
		return bo_create_for(w, data);
	case MLACCEL_FREED:
		return mlaccel_memory_freed(w, ((struct mlaccel_freed *)data)->request);
	default:
		return bo_call(w, number, data);
	}
}

static const unsigned int worker_commands[] = {
	MLACCEL_WORKER_INFO, MLACCEL_QUEUE_MAP, MLACCEL_QUEUE_UNMAP,
	MLACCEL_QUEUE_END,   MLACCEL_COMPLETE,	MLACCEL_BO_LOOK,
	MLACCEL_BO_CREATE_FOR, MLACCEL_BO_DESTROY, MLACCEL_BO_EVICT,
	MLACCEL_BO_RESTORE,  MLACCEL_FREED,
};

static long worker_ioctl(struct file *file, unsigned int cmd,
			 unsigned long arg)
{
	return mlaccel_ioctl_copied(file, cmd, arg, worker_call,
				    worker_commands,
				    ARRAY_SIZE(worker_commands));
}

static int worker_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct mlaccel_worker *w = file->private_data;
	u64 offset = (u64)vma->vm_pgoff << PAGE_SHIFT;
	struct mlaccel_queue *q;
	int ret;

	if (READ_ONCE(w->dead))
		return -ENODEV;
	if (offset >> 24 > U32_MAX)
		return -EINVAL;
	q = find_mapped(w, offset >> 24);
	if (!q)
		return -ENOENT;
	ret = mlaccel_queue_mmap(q, vma, offset & ((1u << 24) - 1), true);
	mlaccel_queue_put(q);
	return ret;
}

static int worker_file_release(struct inode *inode, struct file *file)
{
	struct mlaccel_worker *w = file->private_data;
	struct mlaccel_device *dev = w->dev;
	struct mlaccel_queue *q, *next;
	bool was_current;

	mutex_lock(&dev->lock);
	was_current = dev->worker == w;
	if (was_current)
		dev->worker = NULL;
	mutex_unlock(&dev->lock);
	if (was_current) {
		mlaccel_worker_kill(w);
		mlaccel_worker_put(w);
	}
	list_for_each_entry_safe(q, next, &w->queues, worker_link) {
		list_del_init(&q->worker_link);
		unmap(w, q);
	}
	mlaccel_worker_put(w);
	return 0;
}

static const struct file_operations worker_fops = {
	.owner		= THIS_MODULE,
	.release	= worker_file_release,
	.read		= worker_read,
	.poll		= worker_poll,
	.unlocked_ioctl	= worker_ioctl,
	.compat_ioctl	= compat_ptr_ioctl,
	.mmap		= worker_mmap,
	.llseek		= noop_llseek,
};

struct file *mlaccel_worker_file(struct mlaccel_device *dev, u32 generation)
{
	struct mlaccel_worker *w;
	struct file *file;
	int i;

	w = kzalloc(sizeof(*w), GFP_KERNEL);
	if (!w)
		return ERR_PTR(-ENOMEM);
	kref_init(&w->ref);
	w->dev = dev;
	w->generation = generation;
	mutex_init(&w->maps);
	INIT_LIST_HEAD(&w->queues);
	spin_lock_init(&w->lock);
	init_waitqueue_head(&w->wait);
	for (i = 0; i < ARRAY_SIZE(w->due); i++)
		INIT_LIST_HEAD(&w->due[i]);
	drm_dev_get(&dev->drm);
	file = anon_inode_getfile("mlaccel-worker", &worker_fops, w,
				  O_RDWR | O_CLOEXEC);
	if (IS_ERR(file))
		mlaccel_worker_put(w);
	return file;
}

void mlaccel_worker_end_queues(struct mlaccel_device *dev,
			       struct mlaccel_worker *w)
{
	struct mlaccel_queue *q;
	unsigned long id = 0;

	while ((q = mlaccel_queue_next(dev, &id))) {
		if ((!w || q->worker == w) && mlaccel_queue_end(q, -ENODEV))
			mlaccel_context_lost(q->ctx, q->generation);
		mlaccel_queue_put(q);
		cond_resched();
	}
}

void mlaccel_worker_kill(struct mlaccel_worker *w)
{
	spin_lock_irq(&w->lock);
	w->dead = true;
	spin_unlock_irq(&w->lock);
	wake_up_poll(&w->wait, EPOLLIN | EPOLLRDNORM | EPOLLHUP);
	mlaccel_worker_end_queues(w->dev, w);
	mlaccel_memories_lost(w->dev, w->generation);
}
