// SPDX-License-Identifier: GPL-2.0
/* Users: what a uid holds of the machine's memory, on whichever device. */
#include <linux/cred.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/user_namespace.h>

#include "mlaccel.h"

static DEFINE_MUTEX(users_lock);
static DEFINE_XARRAY(users);	/* by uid in the initial namespace */
/* All of them together: one person can be several users. */
static struct mlaccel_account everybody;

static u64 percent_of_ram(unsigned int percent)
{
	return div_u64((u64)totalram_pages() * min(percent, 100u), 100)
	       << PAGE_SHIFT;
}

u64 mlaccel_host_limit(void)
{
	return percent_of_ram(READ_ONCE(mlaccel_host_limit_percent));
}

bool mlaccel_host_total_exceeded(void)
{
	return mlaccel_account_exceeded(&everybody);
}

struct mlaccel_user *mlaccel_user_get(kuid_t uid)
{
	unsigned long key = __kuid_val(uid);
	struct mlaccel_user *user;
	int ret;

	mutex_lock(&users_lock);
	mlaccel_account_set_limit(&everybody,
				  percent_of_ram(READ_ONCE(mlaccel_host_total_percent)));
	user = xa_load(&users, key);
	if (user) {
		kref_get(&user->ref);
		goto out;
	}
	user = kzalloc(sizeof(*user), MLACCEL_GFP_LOCKED);
	if (!user) {
		user = ERR_PTR(-ENOMEM);
		goto out;
	}
	kref_init(&user->ref);
	user->uid = uid;
	mlaccel_account_init(&user->host, mlaccel_host_limit(), &everybody);
	ret = xa_err(xa_store(&users, key, user, MLACCEL_GFP_LOCKED));
	if (ret) {
		kfree(user);
		user = ERR_PTR(ret);
	}
out:
	mutex_unlock(&users_lock);
	return user;
}

struct mlaccel_user *mlaccel_user_current(void)
{
	struct user_namespace *ns = current_user_ns();
	kuid_t uid = current_euid();

	for (; ns != &init_user_ns; ns = ns->parent)
		uid = ns->owner;
	return mlaccel_user_get(uid);
}

static void user_release(struct kref *ref)
{
	struct mlaccel_user *user = container_of(ref, struct mlaccel_user, ref);

	xa_erase(&users, __kuid_val(user->uid));
	mutex_unlock(&users_lock);
	WARN_ON(user->host.used);
	kfree(user);
}

void mlaccel_user_put(struct mlaccel_user *user)
{
	kref_put_mutex(&user->ref, user_release, &users_lock);
}

/* A limit keeps its user until the control node is closed. */
int mlaccel_user_set_host_limit(kuid_t uid, u64 bytes)
{
	struct mlaccel_user *user = mlaccel_user_get(uid);
	bool keep;

	if (IS_ERR(user))
		return PTR_ERR(user);
	mlaccel_account_set_limit(&user->host, bytes);
	mutex_lock(&users_lock);
	keep = !user->kept;
	user->kept = true;
	mutex_unlock(&users_lock);
	if (!keep)
		mlaccel_user_put(user);
	return 0;
}

void mlaccel_users_forget_limits(void)
{
	struct mlaccel_user *user;
	unsigned long uid;

	for (;;) {
		struct mlaccel_user *kept = NULL;

		mutex_lock(&users_lock);
		xa_for_each(&users, uid, user) {
			if (!user->kept)
				continue;
			user->kept = false;
			mlaccel_account_set_limit(&user->host,
						  mlaccel_host_limit());
			kept = user;
			break;
		}
		mutex_unlock(&users_lock);
		if (!kept)
			return;
		mlaccel_user_put(kept);
	}
}
