// SPDX-License-Identifier: GPL-2.0
#include <linux/time64.h>

#include "suites.h"
#include "../mlaccel_progress.c"

#define DEPTH	8
#define MS	((u64)NSEC_PER_MSEC)

/* The pages' headers, as an honest client and worker leave them at first. */
struct pages {
	struct mlring_submission_header s;
	struct mlring_completion_header c;
	struct mlaccel_progress p;
};

static struct pages *fresh(struct kunit *test)
{
	struct pages *x = kunit_kzalloc(test, sizeof(*x), GFP_KERNEL);

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, x);
	x->s.tail = MLRING_START;
	x->s.completion_head = MLRING_START;
	x->c.completion_tail = MLRING_START;
	x->c.submission_head = MLRING_START;
	x->c.completed_sequence = MLRING_START;
	mlaccel_progress_init(&x->p, DEPTH, 1);
	return x;
}

static int look(struct pages *x, u64 now)
{
	return mlaccel_progress_look(&x->p, &x->s, &x->c, now);
}

static void a_full_ring_is_taken_and_no_more(struct kunit *test)
{
	struct pages *x = fresh(test);

	x->s.tail = MLRING_START + DEPTH;
	KUNIT_EXPECT_EQ(test, look(x, 2), 0);
	KUNIT_EXPECT_EQ(test, x->p.submitted, (u64)MLRING_START + DEPTH);
	x->s.tail = MLRING_START + DEPTH + 1;
	KUNIT_EXPECT_EQ(test, look(x, 3), -EPROTO);
	KUNIT_EXPECT_EQ(test, x->p.submitted, (u64)MLRING_START + DEPTH);
	x->c.submission_head = MLRING_START + 1;
	KUNIT_EXPECT_EQ(test, look(x, 4), 0);
}

static void a_tail_never_moves_back(struct kunit *test)
{
	struct pages *x = fresh(test);

	x->s.tail = MLRING_START + 5;
	KUNIT_EXPECT_EQ(test, look(x, 2), 0);
	x->s.tail = MLRING_START + 4;
	KUNIT_EXPECT_EQ(test, look(x, 3), -EPROTO);
	x->s.tail = MLRING_START - 1;
	KUNIT_EXPECT_EQ(test, look(x, 3), -EPROTO);
	x->s.tail = MLRING_START + 5;
	KUNIT_EXPECT_EQ(test, look(x, 3), 0);
}

static void sequences_go_on_where_indices_wrap(struct kunit *test)
{
	struct pages *x = fresh(test);
	u64 n;

	for (n = 0; n < 100; n++) {
		x->s.tail = MLRING_START + n + 1;
		x->c.submission_head = MLRING_START + n + 1;
		x->c.completion_tail = MLRING_START + n + 1;
		x->c.completed_sequence = (u64)MLRING_START + n + 1;
		KUNIT_ASSERT_EQ(test, look(x, n + 2), 0);
		KUNIT_ASSERT_EQ(test, x->p.submitted, (u64)MLRING_START + n + 1);
		KUNIT_ASSERT_EQ(test, x->p.completed, (u64)MLRING_START + n + 1);
	}
	KUNIT_EXPECT_GT(test, x->p.completed, (u64)U32_MAX);
}

static void a_watermark_stays_between_seen_and_submitted(struct kunit *test)
{
	struct pages *x = fresh(test);

	x->s.tail = MLRING_START + 3;
	x->c.completed_sequence = (u64)MLRING_START + 4;
	KUNIT_EXPECT_EQ(test, look(x, 2), -EPROTO);
	KUNIT_EXPECT_EQ(test, x->p.completed, MLRING_START);
	x->c.completed_sequence = (u64)MLRING_START + 3;
	KUNIT_EXPECT_EQ(test, look(x, 2), 0);
	x->c.completed_sequence = (u64)MLRING_START + 2;
	KUNIT_EXPECT_EQ(test, look(x, 2), -EPROTO);
	KUNIT_EXPECT_EQ(test, x->p.completed, (u64)MLRING_START + 3);
	/* Only the low half would fit. */
	x->c.completed_sequence = (u64)MLRING_START + 3 + (1ull << 32);
	KUNIT_EXPECT_EQ(test, look(x, 2), -EPROTO);
}

static void busy_time_only_grows(struct kunit *test)
{
	struct pages *x = fresh(test);

	x->c.busy = 100;
	KUNIT_EXPECT_EQ(test, look(x, 2), 0);
	x->c.busy = 50;
	KUNIT_EXPECT_EQ(test, look(x, 3), 0);
	KUNIT_EXPECT_EQ(test, x->p.busy_ns, 100);
	x->c.busy = 150;
	KUNIT_EXPECT_EQ(test, look(x, 4), 0);
	KUNIT_EXPECT_EQ(test, x->p.busy_ns, 150);
}

static void busy_time_grows_no_faster_than_time(struct kunit *test)
{
	struct pages *x = fresh(test);

	x->c.busy = U64_MAX;
	KUNIT_EXPECT_EQ(test, look(x, 1 + MS), 0);
	KUNIT_EXPECT_EQ(test, x->p.busy_ns, 256 * MS);
	KUNIT_EXPECT_EQ(test, look(x, 1 + 2 * MS), 0);
	KUNIT_EXPECT_EQ(test, x->p.busy_ns, 512 * MS);
}

static void waiting_for_a_turn_is_not_hanging(struct kunit *test)
{
	struct pages *x = fresh(test);

	x->s.tail = MLRING_START + 1;
	KUNIT_EXPECT_EQ(test, look(x, 1000 * MS), 0);
	KUNIT_EXPECT_FALSE(test, mlaccel_progress_hung(&x->p, 1000 * MS, MS));
}

static void running_without_progress_is_hanging(struct kunit *test)
{
	struct pages *x = fresh(test);

	x->s.tail = MLRING_START + 1;
	x->c.running_since = 10 * MS;
	KUNIT_EXPECT_EQ(test, look(x, 15 * MS), 0);
	KUNIT_EXPECT_FALSE(test, mlaccel_progress_hung(&x->p, 15 * MS, 5 * MS));
	KUNIT_EXPECT_TRUE(test, mlaccel_progress_hung(&x->p, 15 * MS + 1, 5 * MS));
}

static void an_answer_out_of_order_is_progress(struct kunit *test)
{
	struct pages *x = fresh(test);

	x->s.tail = MLRING_START + 2;
	x->c.running_since = 10 * MS;
	KUNIT_EXPECT_EQ(test, look(x, 11 * MS), 0);
	/* The second descriptor is answered, the first one still runs. */
	x->c.completion_tail = MLRING_START + 1;
	KUNIT_EXPECT_EQ(test, look(x, 18 * MS), 0);
	KUNIT_EXPECT_FALSE(test, mlaccel_progress_hung(&x->p, 20 * MS, 5 * MS));
	KUNIT_EXPECT_EQ(test, look(x, 24 * MS), 0);
	KUNIT_EXPECT_TRUE(test, mlaccel_progress_hung(&x->p, 24 * MS, 5 * MS));
}

static void a_start_in_the_future_excuses_nobody_for_long(struct kunit *test)
{
	struct pages *x = fresh(test);

	x->c.running_since = U64_MAX;
	KUNIT_EXPECT_EQ(test, look(x, 4 * MS), 0);
	KUNIT_EXPECT_FALSE(test, mlaccel_progress_hung(&x->p, 4 * MS, 5 * MS));
	KUNIT_EXPECT_EQ(test, look(x, 10 * MS), 0);
	KUNIT_EXPECT_TRUE(test, mlaccel_progress_hung(&x->p, 10 * MS, 5 * MS));
}

static struct kunit_case cases[] = {
	KUNIT_CASE(a_full_ring_is_taken_and_no_more),
	KUNIT_CASE(a_tail_never_moves_back),
	KUNIT_CASE(sequences_go_on_where_indices_wrap),
	KUNIT_CASE(a_watermark_stays_between_seen_and_submitted),
	KUNIT_CASE(busy_time_only_grows),
	KUNIT_CASE(busy_time_grows_no_faster_than_time),
	KUNIT_CASE(waiting_for_a_turn_is_not_hanging),
	KUNIT_CASE(running_without_progress_is_hanging),
	KUNIT_CASE(an_answer_out_of_order_is_progress),
	KUNIT_CASE(a_start_in_the_future_excuses_nobody_for_long),
	{}
};

struct kunit_suite mlaccel_progress_suite = {
	.name = "mlaccel_progress",
	.test_cases = cases,
};
