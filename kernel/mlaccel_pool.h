/* SPDX-License-Identifier: GPL-2.0 */
#ifndef MLACCEL_POOL_H
#define MLACCEL_POOL_H

#include <drm/drm_mm.h>

/*
 * A device's memory: ranges of what its worker really holds, and addresses,
 * of which there are many more. A range may go (its content moved to host memory)
 * and come back elsewhere; the address stays. The caller locks.
 */
struct mlaccel_pool {
	struct drm_mm ranges;
	struct drm_mm addresses;
	u64 bytes;
	u64 used;
};

struct mlaccel_range {
	struct drm_mm_node range;	/* allocated: it is resident */
	struct drm_mm_node address;
	u64 size;			/* whole pages */
	u64 alignment;			/* a power of two, at least a page */
};

void mlaccel_pool_init(struct mlaccel_pool *pool, u64 bytes);
void mlaccel_pool_fini(struct mlaccel_pool *pool);

/* Fills in size and alignment from what was asked for; -EINVAL. */
int mlaccel_range_init(struct mlaccel_range *r, u64 size, u64 alignment);
/* An address, and nothing behind it yet; -ENOSPC, -ENOMEM. */
int mlaccel_pool_add(struct mlaccel_pool *pool, struct mlaccel_range *r);
/* A range behind it; -ENOSPC: none is free that fits. */
int mlaccel_pool_place(struct mlaccel_pool *pool, struct mlaccel_range *r);
/* The range, if any, is free for others. */
void mlaccel_pool_displace(struct mlaccel_pool *pool, struct mlaccel_range *r);
/* Both are. */
void mlaccel_pool_remove(struct mlaccel_pool *pool, struct mlaccel_range *r);

static inline bool mlaccel_range_resident(const struct mlaccel_range *r)
{
	return drm_mm_node_allocated(&r->range);
}

#endif
