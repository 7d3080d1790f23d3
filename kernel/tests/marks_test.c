// SPDX-License-Identifier: GPL-2.0

#include "suites.h"
#include "../mlaccel_marks.c"

static void the_lowest_is_what_to_be_told_of(struct kunit *test)
{
	static const u64 sequences[] = { 30, 10, 20 };
	static const u64 lowest[] = { 30, 10, 10 };
	struct mlaccel_mark m[3];
	struct mlaccel_marks marks;
	int i;

	mlaccel_marks_init(&marks);
	KUNIT_EXPECT_EQ(test, mlaccel_marks_lowest(&marks), MLRING_NEVER);
	for (i = 0; i < 3; i++) {
		mlaccel_mark_init(&m[i], sequences[i], i % 2);
		KUNIT_EXPECT_EQ(test, mlaccel_marks_add(&marks, &m[i], 3), 0);
		KUNIT_EXPECT_EQ(test, mlaccel_marks_lowest(&marks), lowest[i]);
	}
	KUNIT_EXPECT_TRUE(test, mlaccel_marks_remove(&marks, &m[1]));
	KUNIT_EXPECT_EQ(test, mlaccel_marks_lowest(&marks), 20);
	KUNIT_EXPECT_FALSE(test, mlaccel_marks_remove(&marks, &m[1]));
	KUNIT_EXPECT_EQ(test, marks.count[0] + marks.count[1], 2);
}

static void a_mark_is_passed_when_its_own_sequence_is_done(struct kunit *test)
{
	struct mlaccel_marks marks;
	struct mlaccel_mark m;

	mlaccel_marks_init(&marks);
	mlaccel_mark_init(&m, 7, true);
	KUNIT_EXPECT_EQ(test, mlaccel_marks_add(&marks, &m, 1), 0);
	KUNIT_EXPECT_PTR_EQ(test, mlaccel_marks_take(&marks, 7),
			    (struct mlaccel_mark *)NULL);
	KUNIT_EXPECT_PTR_EQ(test, mlaccel_marks_take(&marks, 8), &m);
	KUNIT_EXPECT_PTR_EQ(test, mlaccel_marks_take(&marks, 8),
			    (struct mlaccel_mark *)NULL);
	KUNIT_EXPECT_EQ(test, marks.count[0] + marks.count[1], 0);
}

static void each_is_taken_once_and_in_order(struct kunit *test)
{
	struct mlaccel_mark m[5], *taken;
	struct mlaccel_marks marks;
	u64 last = 0;
	int i, count = 0;

	mlaccel_marks_init(&marks);
	for (i = 0; i < 5; i++) {
		mlaccel_mark_init(&m[i], (i * 3) % 5, false);
		KUNIT_EXPECT_EQ(test, mlaccel_marks_add(&marks, &m[i], 5), 0);
	}
	while ((taken = mlaccel_marks_take(&marks, 5))) {
		KUNIT_EXPECT_GE(test, taken->sequence, last);
		last = taken->sequence;
		count++;
	}
	KUNIT_EXPECT_EQ(test, count, 5);
}

static void equal_sequences_keep_their_order(struct kunit *test)
{
	struct mlaccel_mark m[3];
	struct mlaccel_marks marks;
	int i;

	mlaccel_marks_init(&marks);
	for (i = 0; i < 3; i++) {
		mlaccel_mark_init(&m[i], 4, true);
		mlaccel_marks_add(&marks, &m[i], 3);
	}
	for (i = 0; i < 3; i++)
		KUNIT_EXPECT_PTR_EQ(test, mlaccel_marks_take(&marks, 5), &m[i]);
}

static void ending_takes_even_what_never_comes(struct kunit *test)
{
	struct mlaccel_marks marks;
	struct mlaccel_mark m;

	mlaccel_marks_init(&marks);
	mlaccel_mark_init(&m, U64_MAX, false);
	KUNIT_EXPECT_EQ(test, mlaccel_marks_add(&marks, &m, 1), 0);
	KUNIT_EXPECT_PTR_EQ(test, mlaccel_marks_take(&marks, U64_MAX),
			    (struct mlaccel_mark *)NULL);
	KUNIT_EXPECT_PTR_EQ(test, mlaccel_marks_take_any(&marks), &m);
	KUNIT_EXPECT_EQ(test, marks.count[0] + marks.count[1], 0);
}

static void there_are_no_more_than_the_limit(struct kunit *test)
{
	struct mlaccel_mark m[2];
	struct mlaccel_marks marks;

	mlaccel_marks_init(&marks);
	mlaccel_mark_init(&m[0], 1, true);
	mlaccel_mark_init(&m[1], 2, true);
	KUNIT_EXPECT_EQ(test, mlaccel_marks_add(&marks, &m[0], 1), 0);
	KUNIT_EXPECT_EQ(test, mlaccel_marks_add(&marks, &m[1], 1), -ENOSPC);
	KUNIT_EXPECT_FALSE(test, mlaccel_marks_remove(&marks, &m[1]));
	KUNIT_EXPECT_EQ(test, marks.count[1], 1);
	/* Tasks are counted apart. */
	mlaccel_mark_init(&m[1], 2, false);
	KUNIT_EXPECT_EQ(test, mlaccel_marks_add(&marks, &m[1], 1), 0);
	mlaccel_marks_remove(&marks, &m[0]);
}

static struct kunit_case cases[] = {
	KUNIT_CASE(the_lowest_is_what_to_be_told_of),
	KUNIT_CASE(a_mark_is_passed_when_its_own_sequence_is_done),
	KUNIT_CASE(each_is_taken_once_and_in_order),
	KUNIT_CASE(equal_sequences_keep_their_order),
	KUNIT_CASE(ending_takes_even_what_never_comes),
	KUNIT_CASE(there_are_no_more_than_the_limit),
	{}
};

struct kunit_suite mlaccel_marks_suite = {
	.name = "mlaccel_marks",
	.test_cases = cases,
};
