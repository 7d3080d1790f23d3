// SPDX-License-Identifier: GPL-2.0
/*
 * Ring checks: indices and watermarks, never entries. Entries are the worker's
 * business, which copies and checks each before it acts on it.
 */
#include <linux/errno.h>
#include <linux/minmax.h>

#include "mlaccel_progress.h"

/* That may work for one queue at a time. */
#define EXECUTORS	256

void mlaccel_progress_init(struct mlaccel_progress *p, u32 depth, u64 now)
{
	*p = (struct mlaccel_progress){
		.depth = depth,
		.submitted = MLRING_START,
		.completed = MLRING_START,
		.answered = MLRING_START,
		.moved_at = now,
		.looked_at = now,
	};
}

/*
 * The client has no more in flight than the ring is deep, so its tail is between
 * what was seen and what the worker has taken plus the depth. `taken` must
 * have been read behind `tail`. The difference of two looks fits 32 bits because
 * the watchdog looks every second, whoever else does.
 */
int mlaccel_progress_submit(struct mlaccel_progress *p, u32 tail, u32 taken)
{
	u32 seen = (u32)p->submitted;

	if (!mlring_index_ok(seen, tail, taken + p->depth))
		return -EPROTO;
	p->submitted = mlring_sequence_from(p->submitted, tail);
	return 0;
}

int mlaccel_progress_look_submitted(struct mlaccel_progress *p,
				    const struct mlring_submission_header *s,
				    const struct mlring_completion_header *c)
{
	u32 tail = MLRING_LOAD_ACQUIRE(&s->tail);

	return mlaccel_progress_submit(p, tail,
				       MLRING_LOAD_ACQUIRE(&c->submission_head));
}

int mlaccel_progress_look(struct mlaccel_progress *p,
			  const struct mlring_submission_header *s,
			  const struct mlring_completion_header *c, u64 now)
{
	u64 completed = MLRING_LOAD_ACQUIRE(&c->completed_sequence);
	u32 answered = MLRING_LOAD(&c->completion_tail);
	u64 busy = MLRING_LOAD(&c->busy);
	u64 running = MLRING_LOAD(&c->running_since);
	u64 most;
	int ret;

	/* Behind the watermark, so that it counts what that completes. */
	ret = mlaccel_progress_look_submitted(p, s, c);
	if (ret)
		return ret;
	if (!mlring_sequence_ok(p->completed, completed, p->submitted))
		return -EPROTO;
	if (completed != p->completed || answered != p->answered ||
	    busy > p->busy_ns)
		p->moved_at = now;
	p->completed = completed;
	p->answered = answered;
	/* Time only goes forward, and for so many executors no faster than this. */
	most = (now - p->looked_at) * EXECUTORS;
	if (busy > p->busy_ns)
		p->busy_ns += min(busy - p->busy_ns, most);
	p->looked_at = now;
	/* A start in the future is a lie. */
	p->running_since = running > now ? p->moved_at : running;
	return 0;
}

bool mlaccel_progress_hung(const struct mlaccel_progress *p, u64 now,
			   u64 timeout)
{
	u64 since = max(p->running_since, p->moved_at);

	return p->running_since && now > since && now - since > timeout;
}
