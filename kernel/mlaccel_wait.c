// SPDX-License-Identifier: GPL-2.0
/* WAIT: a task sleeps until a watermark has passed a sequence. */
#include <linux/hrtimer.h>
#include <linux/ktime.h>
#include <linux/sched/signal.h>

#include "mlaccel.h"

struct wait {
	struct mlaccel_mark mark;
	struct task_struct *task;
	bool done;		/* written under the queue's lock, behind error */
	int error;
};

void mlaccel_wait_wake_locked(struct mlaccel_mark *mark, int error)
{
	struct wait *w = container_of(mark, struct wait, mark);

	w->error = error;
	WRITE_ONCE(w->done, true);
	wake_up_process(w->task);
}

static int sleep_until(struct wait *w, u64 deadline_ns)
{
	ktime_t deadline = ns_to_ktime(deadline_ns);
	bool endless = deadline_ns > KTIME_MAX;
	int ret = 0;

	for (;;) {
		set_current_state(TASK_INTERRUPTIBLE);
		if (READ_ONCE(w->done))
			break;
		if (signal_pending(current)) {
			ret = -ERESTARTSYS;
			break;
		}
		if (!schedule_hrtimeout(endless ? NULL : &deadline,
					HRTIMER_MODE_ABS)) {
			ret = -ETIME;
			break;
		}
	}
	__set_current_state(TASK_RUNNING);
	return ret;
}

/* 0: it waits, or has been woken already. */
static int start(struct mlaccel_queue *q, struct wait *w, bool only_look)
{
	int ret = mlaccel_queue_advance_locked(q);

	/* What was completed stays so, whatever became of the queue. */
	if (w->mark.sequence < q->progress.completed) {
		w->done = true;
		return 0;
	}
	if (ret)
		return ret;
	if (only_look)
		return -ETIME;
	ret = mlaccel_marks_add(&q->marks, &w->mark, MLACCEL_WAITS_MAX);
	if (ret)
		return ret;
	mlaccel_queue_notify_locked(q);
	/* The worker may have passed it before it could see that. */
	ret = mlaccel_queue_advance_locked(q);
	if (ret)
		mlaccel_marks_remove(&q->marks, &w->mark);
	return ret;
}

int mlaccel_wait_ioctl(struct drm_device *drm, void *data,
		       struct drm_file *file)
{
	struct drm_mlaccel_wait *args = data;
	struct wait w = { .task = current };
	struct mlaccel_queue *q;
	bool ended;
	int ret;

	if (args->flags)
		return -EINVAL;
	q = mlaccel_queue_of_client(file, args->queue);
	if (!q)
		return -ENOENT;
	mlaccel_mark_init(&w.mark, args->sequence, false);
	spin_lock_irq(&q->lock);
	ended = q->error;
	ret = start(q, &w, args->deadline_ns <= ktime_get_ns());
	spin_unlock_irq(&q->lock);
	if (ret == -EPROTO && !ended)
		mlaccel_queue_end(q, ret);
	if (!ret && !w.done)
		ret = sleep_until(&w, args->deadline_ns);
	spin_lock_irq(&q->lock);
	if (mlaccel_marks_remove(&q->marks, &w.mark))
		mlaccel_queue_notify_locked(q);
	/* Woken at the last moment is woken. */
	if (w.done)
		ret = w.error;
	args->completed = q->progress.completed;
	spin_unlock_irq(&q->lock);
	mlaccel_queue_put(q);
	return ret;
}
