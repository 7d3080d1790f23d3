// SPDX-License-Identifier: GPL-2.0
/*
 * Marks. A list that is kept in order: sequences are mostly armed in order, so
 * a new one nearly always belongs at the end, and the count is bounded.
 */
#include <linux/errno.h>

#include "mlaccel_marks.h"
#include "uapi/mlaccel_ring.h"

void mlaccel_marks_init(struct mlaccel_marks *marks)
{
	INIT_LIST_HEAD(&marks->list);
	marks->count[0] = 0;
	marks->count[1] = 0;
}

void mlaccel_mark_init(struct mlaccel_mark *mark, u64 sequence, bool is_fence)
{
	INIT_LIST_HEAD(&mark->link);
	mark->sequence = sequence;
	mark->is_fence = is_fence;
}

int mlaccel_marks_add(struct mlaccel_marks *marks, struct mlaccel_mark *mark,
		      unsigned int most)
{
	struct mlaccel_mark *before;

	if (marks->count[mark->is_fence] >= most)
		return -ENOSPC;
	list_for_each_entry_reverse(before, &marks->list, link)
		if (before->sequence <= mark->sequence)
			break;
	list_add(&mark->link, &before->link);
	marks->count[mark->is_fence]++;
	return 0;
}

bool mlaccel_marks_remove(struct mlaccel_marks *marks,
			  struct mlaccel_mark *mark)
{
	if (list_empty(&mark->link))
		return false;
	list_del_init(&mark->link);
	marks->count[mark->is_fence]--;
	return true;
}

u64 mlaccel_marks_lowest(const struct mlaccel_marks *marks)
{
	if (list_empty(&marks->list))
		return MLRING_NEVER;
	return list_first_entry(&marks->list, struct mlaccel_mark,
				link)->sequence;
}

struct mlaccel_mark *mlaccel_marks_take_any(struct mlaccel_marks *marks)
{
	struct mlaccel_mark *first =
		list_first_entry_or_null(&marks->list, struct mlaccel_mark, link);

	if (first)
		mlaccel_marks_remove(marks, first);
	return first;
}

struct mlaccel_mark *mlaccel_marks_take(struct mlaccel_marks *marks,
					u64 completed)
{
	if (list_empty(&marks->list) || mlaccel_marks_lowest(marks) >= completed)
		return NULL;
	return mlaccel_marks_take_any(marks);
}
