// SPDX-License-Identifier: GPL-2.0
/*
 * Accounts. One lock for all of them: charging is rare (nothing is charged on
 * the hot path) and short, and a chain of accounts must change as one. The dmem
 * cgroup controller, where a kernel has it, would be charged here as well.
 */
#include <linux/bug.h>
#include <linux/errno.h>
#include <linux/limits.h>
#include <linux/spinlock.h>

#include "mlaccel_account.h"

static DEFINE_SPINLOCK(account_lock);

void mlaccel_account_init(struct mlaccel_account *account, u64 limit,
			  struct mlaccel_account *parent)
{
	account->used = 0;
	account->limit = limit;
	account->parent = parent;
}

static int charge_locked(struct mlaccel_account *account, u64 bytes)
{
	struct mlaccel_account *a;

	for (a = account; a; a = a->parent)
		if (a->used > a->limit || bytes > a->limit - a->used)
			return -EDQUOT;
	for (a = account; a; a = a->parent)
		a->used += bytes;
	return 0;
}

static void uncharge_locked(struct mlaccel_account *account, u64 bytes)
{
	for (; account; account = account->parent)
		if (!WARN_ON_ONCE(account->used < bytes))
			account->used -= bytes;
}

int mlaccel_charge(struct mlaccel_account *account, u64 bytes)
{
	int ret;

	spin_lock(&account_lock);
	ret = charge_locked(account, bytes);
	spin_unlock(&account_lock);
	return ret;
}

void mlaccel_uncharge(struct mlaccel_account *account, u64 bytes)
{
	spin_lock(&account_lock);
	uncharge_locked(account, bytes);
	spin_unlock(&account_lock);
}

int mlaccel_move_charge(struct mlaccel_account *from,
			struct mlaccel_account *to, u64 bytes)
{
	int ret;

	spin_lock(&account_lock);
	ret = charge_locked(to, bytes);
	if (!ret)
		uncharge_locked(from, bytes);
	spin_unlock(&account_lock);
	return ret;
}

void mlaccel_move_charge_anyway(struct mlaccel_account *from,
				struct mlaccel_account *to, u64 bytes)
{
	spin_lock(&account_lock);
	uncharge_locked(from, bytes);
	for (; to; to = to->parent)
		to->used += bytes;
	spin_unlock(&account_lock);
}

bool mlaccel_account_exceeded(struct mlaccel_account *account)
{
	bool exceeded;

	spin_lock(&account_lock);
	exceeded = account->used > account->limit;
	spin_unlock(&account_lock);
	return exceeded;
}

u64 mlaccel_account_used(struct mlaccel_account *account)
{
	u64 used;

	spin_lock(&account_lock);
	used = account->used;
	spin_unlock(&account_lock);
	return used;
}

u64 mlaccel_account_limit(struct mlaccel_account *account)
{
	u64 limit;

	spin_lock(&account_lock);
	limit = account->limit;
	spin_unlock(&account_lock);
	return limit;
}

void mlaccel_account_set_limit(struct mlaccel_account *account, u64 limit)
{
	spin_lock(&account_lock);
	account->limit = limit;
	spin_unlock(&account_lock);
}
