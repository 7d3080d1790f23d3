// SPDX-License-Identifier: GPL-2.0
/* Shares: what each user holds of one device, may hold, and owes to others. */
#include <linux/slab.h>

#include "mlaccel.h"

struct mlaccel_share *mlaccel_share_get(struct mlaccel_device *dev,
					struct mlaccel_user *user)
{
	struct mlaccel_share *share;

	list_for_each_entry(share, &dev->shares, link) {
		if (share->user == user) {
			kref_get(&share->ref);
			return share;
		}
	}
	share = kzalloc(sizeof(*share), MLACCEL_GFP_LOCKED);
	if (!share)
		return ERR_PTR(-ENOMEM);
	kref_init(&share->ref);
	kref_get(&user->ref);
	share->user = user;
	mlaccel_account_init(&share->account, dev->user_limit, NULL);
	list_add_tail(&share->link, &dev->shares);
	return share;
}

static void share_release(struct kref *ref)
{
	struct mlaccel_share *share =
		container_of(ref, struct mlaccel_share, ref);

	WARN_ON(share->account.used);
	list_del(&share->link);
	mlaccel_user_put(share->user);
	kfree(share);
}

void mlaccel_share_put(struct mlaccel_device *dev, struct mlaccel_share *share)
{
	lockdep_assert_held(&dev->mm_lock);
	kref_put(&share->ref, share_release);
}

int mlaccel_share_set_limit(struct mlaccel_device *dev, kuid_t uid, u64 bytes)
{
	struct mlaccel_user *user = mlaccel_user_get(uid);
	struct mlaccel_share *share;
	int ret = 0;

	if (IS_ERR(user))
		return PTR_ERR(user);
	mutex_lock(&dev->mm_lock);
	share = mlaccel_share_get(dev, user);
	if (IS_ERR(share)) {
		ret = PTR_ERR(share);
	} else {
		mlaccel_account_set_limit(&share->account, bytes);
		if (share->kept)
			mlaccel_share_put(dev, share);
		share->kept = true;
	}
	mutex_unlock(&dev->mm_lock);
	mlaccel_user_put(user);
	return ret;
}

void mlaccel_shares_forget_limits(struct mlaccel_device *dev)
{
	struct mlaccel_share *share, *next;

	mutex_lock(&dev->mm_lock);
	list_for_each_entry_safe(share, next, &dev->shares, link) {
		if (!share->kept)
			continue;
		share->kept = false;
		mlaccel_share_put(dev, share);
	}
	mutex_unlock(&dev->mm_lock);
}

struct mlaccel_share *mlaccel_share_debtor(struct mlaccel_device *dev,
					   struct mlaccel_share *owed,
					   u64 bytes)
{
	struct mlaccel_share *share, *most = NULL;
	u64 used, most_used = 0, part;
	unsigned int users = 0;

	list_for_each_entry(share, &dev->shares, link)
		users += share == owed ||
			 mlaccel_account_used(&share->account);
	part = div_u64(dev->pool.bytes, max(users, 1u));
	used = mlaccel_account_used(&owed->account);
	/* What was asked for is charged already. */
	if (used > part || bytes > part)
		return NULL;
	list_for_each_entry(share, &dev->shares, link) {
		used = mlaccel_account_used(&share->account);
		if (share != owed && used > part && used > most_used) {
			most = share;
			most_used = used;
		}
	}
	return most;
}
