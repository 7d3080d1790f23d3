// SPDX-License-Identifier: GPL-2.0
/* The range manager: two drm_mm, one for what there is and one for its names. */
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/overflow.h>
#include <linux/sizes.h>

#include "mlaccel_pool.h"

/* Addresses begin above 0, which is nobody's, and end where CPUs' do. */
#define FIRST_ADDRESS	BIT_ULL(32)
#define ADDRESSES	(BIT_ULL(47) - FIRST_ADDRESS)

void mlaccel_pool_init(struct mlaccel_pool *pool, u64 bytes)
{
	drm_mm_init(&pool->ranges, 0, bytes);
	drm_mm_init(&pool->addresses, FIRST_ADDRESS, ADDRESSES);
	pool->bytes = bytes;
	pool->used = 0;
}

void mlaccel_pool_fini(struct mlaccel_pool *pool)
{
	drm_mm_takedown(&pool->ranges);
	drm_mm_takedown(&pool->addresses);
}

int mlaccel_range_init(struct mlaccel_range *r, u64 size, u64 alignment)
{
	memset(r, 0, sizeof(*r));
	if (!size || check_add_overflow(size, (u64)PAGE_SIZE - 1, &size))
		return -EINVAL;
	if (alignment && !is_power_of_2(alignment))
		return -EINVAL;
	r->size = size & ~((u64)PAGE_SIZE - 1);
	/* Beyond that it fragments and searches, and no accelerator has such pages. */
	if (alignment > SZ_2M && alignment / 2 >= r->size)
		return -EINVAL;
	r->alignment = max_t(u64, alignment, PAGE_SIZE);
	return 0;
}

int mlaccel_pool_add(struct mlaccel_pool *pool, struct mlaccel_range *r)
{
	return drm_mm_insert_node_generic(&pool->addresses, &r->address,
					  r->size, r->alignment, 0,
					  DRM_MM_INSERT_BEST);
}

int mlaccel_pool_place(struct mlaccel_pool *pool, struct mlaccel_range *r)
{
	int ret;

	if (r->size > pool->bytes - pool->used)
		return -ENOSPC;
	ret = drm_mm_insert_node_generic(&pool->ranges, &r->range, r->size,
					 r->alignment, 0, DRM_MM_INSERT_BEST);
	if (!ret)
		pool->used += r->size;
	return ret;
}

void mlaccel_pool_displace(struct mlaccel_pool *pool, struct mlaccel_range *r)
{
	if (!mlaccel_range_resident(r))
		return;
	drm_mm_remove_node(&r->range);
	pool->used -= r->size;
}

void mlaccel_pool_remove(struct mlaccel_pool *pool, struct mlaccel_range *r)
{
	mlaccel_pool_displace(pool, r);
	if (drm_mm_node_allocated(&r->address))
		drm_mm_remove_node(&r->address);
}
