// SPDX-License-Identifier: GPL-2.0
#include <linux/prandom.h>

#include "suites.h"
#include "../mlaccel_pool.c"

#define PAGES(n)	((u64)(n) << PAGE_SHIFT)

static void sizes_are_rounded_and_checked(struct kunit *test)
{
	struct mlaccel_range r;

	KUNIT_EXPECT_EQ(test, mlaccel_range_init(&r, 0, 0), -EINVAL);
	KUNIT_EXPECT_EQ(test, mlaccel_range_init(&r, U64_MAX, 0), -EINVAL);
	KUNIT_EXPECT_EQ(test, mlaccel_range_init(&r, 1, 3), -EINVAL);
	KUNIT_EXPECT_EQ(test, mlaccel_range_init(&r, 1, SZ_2M), 0);
	KUNIT_EXPECT_EQ(test, mlaccel_range_init(&r, 1, SZ_4M), -EINVAL);
	KUNIT_EXPECT_EQ(test, mlaccel_range_init(&r, SZ_2M, SZ_4M), -EINVAL);
	KUNIT_EXPECT_EQ(test, mlaccel_range_init(&r, SZ_2M + 1, SZ_4M), 0);
	KUNIT_EXPECT_EQ(test, mlaccel_range_init(&r, 1, 0), 0);
	KUNIT_EXPECT_EQ(test, r.size, PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, r.alignment, PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, mlaccel_range_init(&r, PAGE_SIZE + 1, 1 << 20), 0);
	KUNIT_EXPECT_EQ(test, r.size, PAGES(2));
	KUNIT_EXPECT_EQ(test, r.alignment, 1 << 20);
}

static struct mlaccel_range *placed(struct kunit *test,
				    struct mlaccel_pool *pool, u64 size,
				    u64 alignment, int expected)
{
	struct mlaccel_range *r = kunit_kzalloc(test, sizeof(*r), GFP_KERNEL);
	int ret;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, r);
	KUNIT_ASSERT_EQ(test, mlaccel_range_init(r, size, alignment), 0);
	KUNIT_ASSERT_EQ(test, mlaccel_pool_add(pool, r), 0);
	ret = mlaccel_pool_place(pool, r);
	KUNIT_EXPECT_EQ(test, ret, expected);
	if (!ret)
		return r;
	mlaccel_pool_remove(pool, r);
	return NULL;
}

static void the_pool_fills_to_the_last_page(struct kunit *test)
{
	struct mlaccel_range *a, *b, *c;
	struct mlaccel_pool pool;

	mlaccel_pool_init(&pool, PAGES(4));
	a = placed(test, &pool, PAGES(2), 0, 0);
	b = placed(test, &pool, PAGES(1), 0, 0);
	placed(test, &pool, PAGES(2), 0, -ENOSPC);
	c = placed(test, &pool, 1, 0, 0);
	KUNIT_EXPECT_EQ(test, pool.used, PAGES(4));
	placed(test, &pool, 1, 0, -ENOSPC);
	mlaccel_pool_remove(&pool, a);
	mlaccel_pool_remove(&pool, b);
	mlaccel_pool_remove(&pool, c);
	KUNIT_EXPECT_EQ(test, pool.used, 0);
	mlaccel_pool_fini(&pool);
}

static void fragments_do_not_make_a_range(struct kunit *test)
{
	struct mlaccel_range *r[4];
	struct mlaccel_pool pool;
	int i;

	mlaccel_pool_init(&pool, PAGES(4));
	for (i = 0; i < 4; i++)
		r[i] = placed(test, &pool, PAGES(1), 0, 0);
	mlaccel_pool_remove(&pool, r[0]);
	mlaccel_pool_remove(&pool, r[2]);
	KUNIT_EXPECT_EQ(test, pool.used, PAGES(2));
	placed(test, &pool, PAGES(2), 0, -ENOSPC);
	mlaccel_pool_remove(&pool, r[1]);
	r[0] = placed(test, &pool, PAGES(3), 0, 0);
	mlaccel_pool_remove(&pool, r[0]);
	mlaccel_pool_remove(&pool, r[3]);
	mlaccel_pool_fini(&pool);
}

static void alignment_holds_for_range_and_address(struct kunit *test)
{
	struct mlaccel_range *small, *aligned;
	struct mlaccel_pool pool;

	mlaccel_pool_init(&pool, 4 << 20);
	small = placed(test, &pool, 1, 0, 0);
	aligned = placed(test, &pool, PAGES(3), 1 << 20, 0);
	KUNIT_EXPECT_EQ(test, aligned->range.start % (1 << 20), 0);
	KUNIT_EXPECT_EQ(test, aligned->address.start % (1 << 20), 0);
	placed(test, &pool, 5 << 20, 0, -ENOSPC);
	mlaccel_pool_remove(&pool, small);
	mlaccel_pool_remove(&pool, aligned);
	mlaccel_pool_fini(&pool);
}

static void an_evicted_range_keeps_its_address(struct kunit *test)
{
	struct mlaccel_range *a, *b;
	struct mlaccel_pool pool;
	u64 address;

	mlaccel_pool_init(&pool, PAGES(2));
	a = placed(test, &pool, PAGES(2), 0, 0);
	address = a->address.start;
	mlaccel_pool_displace(&pool, a);
	KUNIT_EXPECT_FALSE(test, mlaccel_range_resident(a));
	KUNIT_EXPECT_EQ(test, pool.used, 0);
	b = placed(test, &pool, PAGES(1), 0, 0);
	KUNIT_EXPECT_NE(test, b->address.start, address);
	KUNIT_EXPECT_EQ(test, mlaccel_pool_place(&pool, a), -ENOSPC);
	mlaccel_pool_remove(&pool, b);
	KUNIT_EXPECT_EQ(test, mlaccel_pool_place(&pool, a), 0);
	KUNIT_EXPECT_EQ(test, a->address.start, address);
	mlaccel_pool_displace(&pool, a);
	mlaccel_pool_displace(&pool, a);
	KUNIT_EXPECT_EQ(test, pool.used, 0);
	mlaccel_pool_remove(&pool, a);
	mlaccel_pool_fini(&pool);
}

/* Ranges never overlap and the count of bytes is theirs, whatever the order. */
static void random_ranges_never_overlap(struct kunit *test)
{
	struct mlaccel_range **live;
	struct mlaccel_pool pool;
	struct rnd_state random;
	u32 seed = (u32)get_random_long();
	int count = 0, step, i;
	u64 used = 0;

	kunit_info(test, "seed %u", seed);
	prandom_seed_state(&random, seed);
	live = kunit_kzalloc(test, 64 * sizeof(*live), GFP_KERNEL);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, live);
	mlaccel_pool_init(&pool, PAGES(64));
	for (step = 0; step < 2000; step++) {
		struct mlaccel_range *r;

		if (count && (count == 64 || prandom_u32_state(&random) % 2)) {
			i = prandom_u32_state(&random) % count;
			used -= live[i]->size;
			mlaccel_pool_remove(&pool, live[i]);
			kunit_kfree(test, live[i]);
			live[i] = live[--count];
			continue;
		}
		r = kunit_kzalloc(test, sizeof(*r), GFP_KERNEL);
		KUNIT_ASSERT_NOT_ERR_OR_NULL(test, r);
		mlaccel_range_init(r, 1 + prandom_u32_state(&random) % PAGES(9),
				   PAGES(1) << prandom_u32_state(&random) % 4);
		if (mlaccel_pool_add(&pool, r) || mlaccel_pool_place(&pool, r)) {
			mlaccel_pool_remove(&pool, r);
			kunit_kfree(test, r);
			continue;
		}
		used += r->size;
		KUNIT_ASSERT_LE(test, r->range.start + r->size, PAGES(64));
		for (i = 0; i < count; i++)
			KUNIT_ASSERT_TRUE(test,
					  r->range.start + r->size <= live[i]->range.start ||
					  live[i]->range.start + live[i]->size <= r->range.start);
		live[count++] = r;
		KUNIT_ASSERT_EQ(test, pool.used, used);
	}
	while (count)
		mlaccel_pool_remove(&pool, live[--count]);
	KUNIT_EXPECT_EQ(test, pool.used, 0);
	mlaccel_pool_fini(&pool);
}

static struct kunit_case cases[] = {
	KUNIT_CASE(sizes_are_rounded_and_checked),
	KUNIT_CASE(the_pool_fills_to_the_last_page),
	KUNIT_CASE(fragments_do_not_make_a_range),
	KUNIT_CASE(alignment_holds_for_range_and_address),
	KUNIT_CASE(an_evicted_range_keeps_its_address),
	KUNIT_CASE(random_ranges_never_overlap),
	{}
};

struct kunit_suite mlaccel_pool_suite = {
	.name = "mlaccel_pool",
	.test_cases = cases,
};
