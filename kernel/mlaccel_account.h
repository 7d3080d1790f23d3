/* SPDX-License-Identifier: GPL-2.0 */
#ifndef MLACCEL_ACCOUNT_H
#define MLACCEL_ACCOUNT_H

#include <linux/types.h>

#define MLACCEL_UNLIMITED	U64_MAX

/*
 * Bytes that somebody holds, and may hold. What is charged to an account is
 * charged to all its parents too: to none of them when one is full.
 */
struct mlaccel_account {
	u64 used;
	u64 limit;
	struct mlaccel_account *parent;
};

void mlaccel_account_init(struct mlaccel_account *account, u64 limit,
			  struct mlaccel_account *parent);
/* 0 or -EDQUOT. */
int mlaccel_charge(struct mlaccel_account *account, u64 bytes);
void mlaccel_uncharge(struct mlaccel_account *account, u64 bytes);
/* From one to the other, or -EDQUOT and nothing. */
int mlaccel_move_charge(struct mlaccel_account *from,
			struct mlaccel_account *to, u64 bytes);
/* The same above all limits, which then refuse everything else. */
void mlaccel_move_charge_anyway(struct mlaccel_account *from,
				struct mlaccel_account *to, u64 bytes);
/* This one, whatever its parents. */
bool mlaccel_account_exceeded(struct mlaccel_account *account);
u64 mlaccel_account_used(struct mlaccel_account *account);
u64 mlaccel_account_limit(struct mlaccel_account *account);
void mlaccel_account_set_limit(struct mlaccel_account *account, u64 limit);

#endif
