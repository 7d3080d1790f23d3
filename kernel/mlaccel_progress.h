/* SPDX-License-Identifier: GPL-2.0 */
#ifndef MLACCEL_PROGRESS_H
#define MLACCEL_PROGRESS_H

#include <linux/types.h>

#include "uapi/mlaccel_ring.h"

/*
 * What the kernel knows of a queue by looking at its pages now and then. Both
 * sides may be writing there what they like, so each word is read once, held
 * against what was seen before, and kept only if it can be.
 */
struct mlaccel_progress {
	u32 depth;
	u64 submitted;		/* descriptors published */
	u64 completed;		/* the watermark */
	u32 answered;		/* low half of how many completions there are */
	u64 busy_ns;
	u64 running_since;	/* 0: the worker runs nothing for it */
	u64 moved_at;		/* ns, when any of the above was seen to move */
	u64 looked_at;		/* ns, the last time */
};

void mlaccel_progress_init(struct mlaccel_progress *p, u32 depth, u64 now);

/* Takes a new submission tail. -EPROTO: it can't be. */
int mlaccel_progress_submit(struct mlaccel_progress *p, u32 tail, u32 taken);

/*
 * Reads the client's page; reads both pages. -EPROTO: the client's (first) or
 * the worker's words can't be, and nothing of them is kept.
 */
int mlaccel_progress_look_submitted(struct mlaccel_progress *p,
				    const struct mlring_submission_header *s,
				    const struct mlring_completion_header *c);
int mlaccel_progress_look(struct mlaccel_progress *p,
			  const struct mlring_submission_header *s,
			  const struct mlring_completion_header *c, u64 now);

/* Its work has been running for longer than that, and nothing came of it. */
bool mlaccel_progress_hung(const struct mlaccel_progress *p, u64 now,
			   u64 timeout);

#endif
