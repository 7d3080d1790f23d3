// SPDX-License-Identifier: GPL-2.0
#include <linux/completion.h>
#include <linux/kthread.h>

#include "suites.h"
#include "../mlaccel_account.c"

static void limits_are_exact(struct kunit *test)
{
	struct mlaccel_account a;

	mlaccel_account_init(&a, 100, NULL);
	KUNIT_EXPECT_EQ(test, mlaccel_charge(&a, 101), -EDQUOT);
	KUNIT_EXPECT_EQ(test, mlaccel_charge(&a, 99), 0);
	KUNIT_EXPECT_EQ(test, mlaccel_charge(&a, 2), -EDQUOT);
	KUNIT_EXPECT_EQ(test, mlaccel_charge(&a, 1), 0);
	KUNIT_EXPECT_EQ(test, mlaccel_charge(&a, 1), -EDQUOT);
	KUNIT_EXPECT_EQ(test, mlaccel_account_used(&a), 100);
	mlaccel_uncharge(&a, 100);
	KUNIT_EXPECT_EQ(test, mlaccel_account_used(&a), 0);
}

static void nothing_is_charged_when_a_parent_is_full(struct kunit *test)
{
	struct mlaccel_account user, client, context;

	mlaccel_account_init(&user, 10, NULL);
	mlaccel_account_init(&client, 100, &user);
	mlaccel_account_init(&context, MLACCEL_UNLIMITED, &client);
	KUNIT_EXPECT_EQ(test, mlaccel_charge(&context, 11), -EDQUOT);
	KUNIT_EXPECT_EQ(test, context.used, 0);
	KUNIT_EXPECT_EQ(test, client.used, 0);
	KUNIT_EXPECT_EQ(test, user.used, 0);
	KUNIT_EXPECT_EQ(test, mlaccel_charge(&context, 10), 0);
	KUNIT_EXPECT_EQ(test, context.used, 10);
	KUNIT_EXPECT_EQ(test, client.used, 10);
	KUNIT_EXPECT_EQ(test, user.used, 10);
	mlaccel_uncharge(&context, 4);
	KUNIT_EXPECT_EQ(test, context.used, 6);
	KUNIT_EXPECT_EQ(test, user.used, 6);
}

static void sums_do_not_wrap(struct kunit *test)
{
	struct mlaccel_account a;

	mlaccel_account_init(&a, MLACCEL_UNLIMITED, NULL);
	KUNIT_EXPECT_EQ(test, mlaccel_charge(&a, U64_MAX), 0);
	KUNIT_EXPECT_EQ(test, mlaccel_charge(&a, 1), -EDQUOT);
	KUNIT_EXPECT_EQ(test, a.used, U64_MAX);
}

static void a_lowered_limit_keeps_what_is_held(struct kunit *test)
{
	struct mlaccel_account a;

	mlaccel_account_init(&a, 100, NULL);
	KUNIT_EXPECT_EQ(test, mlaccel_charge(&a, 80), 0);
	mlaccel_account_set_limit(&a, 50);
	KUNIT_EXPECT_EQ(test, mlaccel_charge(&a, 1), -EDQUOT);
	KUNIT_EXPECT_EQ(test, mlaccel_charge(&a, 0), -EDQUOT);
	mlaccel_uncharge(&a, 40);
	KUNIT_EXPECT_EQ(test, mlaccel_charge(&a, 10), 0);
	KUNIT_EXPECT_EQ(test, mlaccel_account_used(&a), 50);
	KUNIT_EXPECT_EQ(test, mlaccel_account_limit(&a), 50);
}

static void a_parent_is_exceeded_by_itself(struct kunit *test)
{
	struct mlaccel_account all, user, device;

	mlaccel_account_init(&all, 10, NULL);
	mlaccel_account_init(&user, 100, &all);
	mlaccel_account_init(&device, 100, NULL);
	KUNIT_EXPECT_EQ(test, mlaccel_charge(&device, 11), 0);
	mlaccel_move_charge_anyway(&device, &user, 11);
	KUNIT_EXPECT_TRUE(test, mlaccel_account_exceeded(&all));
	KUNIT_EXPECT_FALSE(test, mlaccel_account_exceeded(&user));
}

static void moving_is_all_or_nothing(struct kunit *test)
{
	struct mlaccel_account from, to;

	mlaccel_account_init(&from, 100, NULL);
	mlaccel_account_init(&to, 30, NULL);
	KUNIT_EXPECT_EQ(test, mlaccel_charge(&from, 60), 0);
	KUNIT_EXPECT_EQ(test, mlaccel_move_charge(&from, &to, 31), -EDQUOT);
	KUNIT_EXPECT_EQ(test, from.used, 60);
	KUNIT_EXPECT_EQ(test, to.used, 0);
	KUNIT_EXPECT_EQ(test, mlaccel_move_charge(&from, &to, 30), 0);
	KUNIT_EXPECT_EQ(test, from.used, 30);
	KUNIT_EXPECT_EQ(test, to.used, 30);
}

#define CHARGERS	4
#define CHARGES		20000

struct chargers {
	struct mlaccel_account user;
	struct mlaccel_account accounts[CHARGERS];
	atomic_t next;
	atomic_t too_much;
	atomic_t running;
	struct completion done;
};

/* Takes 7 and gives them back, again and again, beside others doing the same. */
static int charge_and_uncharge(void *data)
{
	struct chargers *c = data;
	struct mlaccel_account *mine =
		&c->accounts[atomic_inc_return(&c->next) - 1];
	int i;

	for (i = 0; i < CHARGES; i++) {
		if (mlaccel_charge(mine, 7))
			continue;
		if (mlaccel_account_used(&c->user) > 20)
			atomic_inc(&c->too_much);
		mlaccel_uncharge(mine, 7);
	}
	if (atomic_dec_and_test(&c->running))
		complete(&c->done);
	return 0;
}

static void limits_hold_under_concurrency(struct kunit *test)
{
	struct chargers *c = kunit_kzalloc(test, sizeof(*c), GFP_KERNEL);
	int i;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, c);
	mlaccel_account_init(&c->user, 20, NULL);
	init_completion(&c->done);
	atomic_set(&c->running, CHARGERS);
	for (i = 0; i < CHARGERS; i++)
		mlaccel_account_init(&c->accounts[i], MLACCEL_UNLIMITED,
				     &c->user);
	for (i = 0; i < CHARGERS; i++)
		KUNIT_ASSERT_NOT_ERR_OR_NULL(test,
					     kthread_run(charge_and_uncharge, c,
							 "charger"));
	wait_for_completion(&c->done);
	KUNIT_EXPECT_EQ(test, atomic_read(&c->too_much), 0);
	KUNIT_EXPECT_EQ(test, c->user.used, 0);
	for (i = 0; i < CHARGERS; i++)
		KUNIT_EXPECT_EQ(test, c->accounts[i].used, 0);
}

static struct kunit_case cases[] = {
	KUNIT_CASE(limits_are_exact),
	KUNIT_CASE(nothing_is_charged_when_a_parent_is_full),
	KUNIT_CASE(sums_do_not_wrap),
	KUNIT_CASE(a_lowered_limit_keeps_what_is_held),
	KUNIT_CASE(a_parent_is_exceeded_by_itself),
	KUNIT_CASE(moving_is_all_or_nothing),
	KUNIT_CASE(limits_hold_under_concurrency),
	{}
};

struct kunit_suite mlaccel_account_suite = {
	.name = "mlaccel_account",
	.test_cases = cases,
};
