/* SPDX-License-Identifier: GPL-2.0 */
#ifndef MLACCEL_MARKS_H
#define MLACCEL_MARKS_H

#include <linux/list.h>
#include <linux/types.h>

/*
 * What waits for a sequence of a queue: fences and sleeping tasks, by sequence.
 * The lowest is what notify_at says. All under the queue's lock.
 */
struct mlaccel_mark {
	struct list_head link;		/* empty: it waits for nothing */
	u64 sequence;			/* passed when the watermark is above it */
	bool is_fence;
};

struct mlaccel_marks {
	struct list_head list;		/* by sequence, oldest first among equals */
	unsigned int count[2];		/* of tasks, of fences */
};

void mlaccel_marks_init(struct mlaccel_marks *marks);
void mlaccel_mark_init(struct mlaccel_mark *mark, u64 sequence, bool is_fence);
/* -ENOSPC: there are `most` of its kind already. */
int mlaccel_marks_add(struct mlaccel_marks *marks, struct mlaccel_mark *mark,
		      unsigned int most);
/* False: it has been taken already. */
bool mlaccel_marks_remove(struct mlaccel_marks *marks,
			  struct mlaccel_mark *mark);
/* The lowest sequence, or MLRING_NEVER. */
u64 mlaccel_marks_lowest(const struct mlaccel_marks *marks);
/* Takes out one that a watermark has passed, lowest first; NULL: there is none. */
struct mlaccel_mark *mlaccel_marks_take(struct mlaccel_marks *marks,
					u64 completed);
/* Takes out one, whatever it waits for. */
struct mlaccel_mark *mlaccel_marks_take_any(struct mlaccel_marks *marks);

#endif
