// SPDX-License-Identifier: GPL-2.0
/*
 * The watchdog looks at every queue of a running device now and then: what a worker
 * forgot to say is noticed, sequences never run 2^32 ahead of what was seen,
 * and work that hangs makes its context guilty. Waiting for a turn is no guilt.
 */
#include <linux/ktime.h>

#include "mlaccel.h"
#include "mlaccel_trace.h"

static void schedule_next(struct mlaccel_device *dev)
{
	unsigned int ms = max(READ_ONCE(mlaccel_watchdog_ms), 10u);

	queue_delayed_work(system_wq, &dev->watchdog, msecs_to_jiffies(ms));
}

static void look_at(struct mlaccel_queue *q)
{
	bool hung;

	if (READ_ONCE(q->error))
		return;
	mlaccel_queue_advance(q);
	spin_lock_irq(&q->lock);
	hung = !q->error && mlaccel_progress_hung(&q->progress, ktime_get_ns(),
						  q->ctx->timeout_ns);
	spin_unlock_irq(&q->lock);
	if (!hung)
		return;
	trace_mlaccel_timeout(q, q->progress.completed);
	mlaccel_context_guilty(q->ctx, q);
}

void mlaccel_watchdog(struct work_struct *work)
{
	struct mlaccel_device *dev = container_of(to_delayed_work(work),
						  struct mlaccel_device,
						  watchdog);
	struct mlaccel_queue *q;
	unsigned long id = 0;
	bool running;

	while ((q = mlaccel_queue_next(dev, &id))) {
		look_at(q);
		mlaccel_queue_put(q);
		cond_resched();
	}
	mutex_lock(&dev->lock);
	running = dev->worker;
	if (running)
		schedule_next(dev);
	mutex_unlock(&dev->lock);
}

void mlaccel_watchdog_start(struct mlaccel_device *dev)
{
	schedule_next(dev);
}
