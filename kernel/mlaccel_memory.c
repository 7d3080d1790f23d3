// SPDX-License-Identifier: GPL-2.0
/*
 * Device memory: who holds which range, who pays, and how one user gets what another
 * has too much of.
 *
 * A piece is RESIDENT (it has a range, and its context pays), EVICTED (the worker
 * has moved its content to host memory, for which its user pays) or LOST (its
 * worker died; nobody pays, and nothing is left but the handle).
 *
 * When an allocation finds no room, and its user holds less than an equal part of
 * the device while another holds more, the kernel says to the worker "free N
 * bytes of uid U before T" and waits that long. Which ones is the worker's choice:
 * it knows what was used last and what is in flight.
 */
#include <linux/cred.h>
#include <linux/jiffies.h>
#include <linux/ktime.h>
#include <linux/slab.h>

#include "mlaccel.h"
#include "mlaccel_trace.h"

/*
 * An allocation that waits; on its stack, under mm_lock. It waits killable: a
 * signal that restarted the call would give it a new deadline each time.
 */
struct request {
	struct list_head link;
	u64 number;
	kuid_t uid;
	u64 bytes;
	u64 deadline_ns;
	bool told;
	bool answered;
};

/* ---- shares ---- */

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
	share = kzalloc(sizeof(*share), GFP_KERNEL_ACCOUNT);
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

/*
 * Who holds more than an equal part, and most of all, while `owed` with `bytes`
 * more would not; NULL: nobody has to give anything back.
 */
static struct mlaccel_share *find_debtor(struct mlaccel_device *dev,
					 struct mlaccel_share *owed, u64 bytes)
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

/* ---- requests to the worker ---- */

/* Under mm_lock. */
static void set_told(struct mlaccel_device *dev, struct request *r, bool told)
{
	if (r->told == told)
		return;
	r->told = told;
	WRITE_ONCE(dev->untold, dev->untold + (told ? -1 : 1));
}

static void ask_worker(struct mlaccel_device *dev)
{
	struct mlaccel_worker *w;

	mutex_lock(&dev->lock);
	w = dev->worker;
	if (w)
		kref_get(&w->ref);
	mutex_unlock(&dev->lock);
	if (!w)
		return;
	mlaccel_worker_wake(w);
	mlaccel_worker_put(w);
}

bool mlaccel_memory_next_request(struct mlaccel_device *dev,
				 struct mlaccel_event *event)
{
	struct request *r;
	bool found = false;

	mutex_lock(&dev->mm_lock);
	list_for_each_entry(r, &dev->requests, link) {
		if (r->told)
			continue;
		set_told(dev, r, true);
		found = true;
		*event = (struct mlaccel_event){
			.bits = MLACCEL_EVENT_FREE,
			.request = r->number,
			.bytes = r->bytes,
			.deadline_ns = r->deadline_ns,
			.uid = from_kuid_munged(current_user_ns(), r->uid),
		};
		break;
	}
	mutex_unlock(&dev->mm_lock);
	return found;
}

static struct request *find_request(struct mlaccel_device *dev, u64 number)
{
	struct request *r;

	list_for_each_entry(r, &dev->requests, link)
		if (r->number == number)
			return r;
	return NULL;
}

void mlaccel_memory_retell(struct mlaccel_device *dev, u64 number)
{
	struct request *r;

	mutex_lock(&dev->mm_lock);
	r = find_request(dev, number);
	if (r)
		set_told(dev, r, false);
	mutex_unlock(&dev->mm_lock);
}

int mlaccel_memory_freed(struct mlaccel_device *dev, u64 number)
{
	struct request *r;

	mutex_lock(&dev->mm_lock);
	r = find_request(dev, number);
	if (r)
		r->answered = true;
	mutex_unlock(&dev->mm_lock);
	if (!r)
		return -ENOENT;
	wake_up_all(&dev->freed);
	return 0;
}

/* ---- a piece of memory ---- */

/* Under mm_lock. -ENODEV: the worker that would hold it is not the device's. */
static int place(struct mlaccel_device *dev, struct mlaccel_memory *memory)
{
	if (READ_ONCE(dev->generation) != memory->generation ||
	    !READ_ONCE(dev->worker))
		return -ENODEV;
	return mlaccel_pool_place(&dev->pool, &memory->range);
}

/* Something may have changed since `seen` that a waiting allocation wants to know. */
static bool worth_trying(struct mlaccel_device *dev, struct request *r,
			 u64 free_before)
{
	return READ_ONCE(r->answered) || !READ_ONCE(dev->worker) ||
	       dev->pool.bytes - READ_ONCE(dev->pool.used) != free_before;
}

/* Under mm_lock, which it lets go of meanwhile. */
static int wait_for_room(struct mlaccel_device *dev,
			 struct mlaccel_memory *memory,
			 struct mlaccel_share *debtor)
{
	u64 patience = (u64)READ_ONCE(mlaccel_evict_timeout_ms) * NSEC_PER_MSEC;
	struct request r = {
		.number = ++dev->last_request,
		.uid = debtor->user->uid,
		.bytes = memory->range.size,
		.deadline_ns = ktime_get_ns() + patience,
		.told = true,
	};
	bool answered;
	long ret, left;
	u64 free, now;
	int placed;

	list_add_tail(&r.link, &dev->requests);
	set_told(dev, &r, false);
	mutex_unlock(&dev->mm_lock);
	ask_worker(dev);
	mutex_lock(&dev->mm_lock);
	do {
		free = dev->pool.bytes - dev->pool.used;
		answered = r.answered;
		mutex_unlock(&dev->mm_lock);
		now = ktime_get_ns();
		left = now < r.deadline_ns && !answered ?
			nsecs_to_jiffies(r.deadline_ns - now) + 1 : 0;
		ret = left ? wait_event_killable_timeout(dev->freed,
							 worth_trying(dev, &r, free),
							 left) : 0;
		mutex_lock(&dev->mm_lock);
		placed = place(dev, memory);
	} while (placed == -ENOSPC && ret > 0 && !answered);
	set_told(dev, &r, true);
	list_del(&r.link);
	return placed == -ENOSPC && ret < 0 ? ret : placed;
}

/* Under mm_lock: room for a piece that is charged already. */
static int place_or_wait(struct mlaccel_device *dev,
			 struct mlaccel_memory *memory, bool wait)
{
	struct mlaccel_share *share = memory->ctx->client->share;
	struct mlaccel_share *debtor;
	int ret = place(dev, memory);

	if (ret != -ENOSPC || !wait)
		return ret;
	debtor = find_debtor(dev, share, memory->range.size);
	return debtor ? wait_for_room(dev, memory, debtor) : ret;
}

struct mlaccel_memory *mlaccel_memory_create(struct mlaccel_device *dev,
					     struct mlaccel_context *ctx,
					     u64 size, u64 alignment,
					     u32 generation, u32 queue,
					     bool wait)
{
	struct mlaccel_memory *memory;
	u64 bytes;
	int ret;

	memory = kzalloc(sizeof(*memory), GFP_KERNEL_ACCOUNT);
	if (!memory)
		return ERR_PTR(-ENOMEM);
	ret = mlaccel_range_init(&memory->range, size, alignment);
	if (ret)
		goto free;
	bytes = memory->range.size;
	ret = mlaccel_charge(&ctx->device, bytes);
	if (ret)
		goto free;
	mlaccel_context_get(ctx);
	memory->dev = dev;
	memory->ctx = ctx;
	memory->generation = generation;
	memory->queue = queue;
	memory->state = MLACCEL_BO_RESIDENT;
	mutex_lock(&dev->mm_lock);
	ret = mlaccel_pool_add(&dev->pool, &memory->range);
	if (!ret)
		ret = place_or_wait(dev, memory, wait);
	if (!ret) {
		ret = xa_alloc_cyclic(&dev->memories, &memory->id, memory,
				      xa_limit_31b, &dev->next_memory,
				      GFP_KERNEL_ACCOUNT);
		ret = min(ret, 0);
	}
	if (ret)
		mlaccel_pool_remove(&dev->pool, &memory->range);
	mutex_unlock(&dev->mm_lock);
	if (!ret)
		return memory;
	mlaccel_uncharge(&ctx->device, bytes);
	mlaccel_context_put(ctx);
free:
	kfree(memory);
	return ERR_PTR(ret);
}

/* Under mm_lock: nobody pays for it any more. */
static void uncharge(struct mlaccel_memory *memory)
{
	struct mlaccel_client *client = memory->ctx->client;
	u64 bytes = memory->range.size;

	if (memory->state == MLACCEL_BO_RESIDENT) {
		mlaccel_uncharge(&memory->ctx->device, bytes);
	} else if (memory->state == MLACCEL_BO_EVICTED) {
		mlaccel_uncharge(&client->host, bytes);
		atomic64_sub(bytes, &client->evicted);
	}
}

/* Under mm_lock; the caller frees it behind. */
static void take_out(struct mlaccel_memory *memory)
{
	struct mlaccel_device *dev = memory->dev;

	xa_erase(&dev->memories, memory->id);
	mlaccel_pool_remove(&dev->pool, &memory->range);
	uncharge(memory);
}

static void free_memory(struct mlaccel_memory *memory)
{
	wake_up_all(&memory->dev->freed);
	mlaccel_context_put(memory->ctx);
	kfree(memory);
}

void mlaccel_memory_destroy(struct mlaccel_memory *memory)
{
	struct mlaccel_device *dev = memory->dev;

	mutex_lock(&dev->mm_lock);
	take_out(memory);
	mutex_unlock(&dev->mm_lock);
	free_memory(memory);
}

/* Takes one of those out that workers made for a queue (0: for any queue). */
static struct mlaccel_memory *take_workers(struct mlaccel_device *dev,
					   u32 queue)
{
	struct mlaccel_memory *memory;
	unsigned long id;

	mutex_lock(&dev->mm_lock);
	xa_for_each(&dev->memories, id, memory) {
		if (!memory->queue || (queue && memory->queue != queue))
			continue;
		take_out(memory);
		mutex_unlock(&dev->mm_lock);
		return memory;
	}
	mutex_unlock(&dev->mm_lock);
	return NULL;
}

void mlaccel_memories_of_queue(struct mlaccel_device *dev, u32 queue)
{
	struct mlaccel_memory *memory;

	while ((memory = take_workers(dev, queue)))
		free_memory(memory);
}

void mlaccel_memories_lost(struct mlaccel_device *dev, u32 generation)
{
	struct mlaccel_memory *memory;
	unsigned long id;

	mutex_lock(&dev->mm_lock);
	xa_for_each(&dev->memories, id, memory) {
		if (memory->generation > generation)
			continue;
		mlaccel_pool_displace(&dev->pool, &memory->range);
		uncharge(memory);
		memory->state = MLACCEL_BO_LOST;
	}
	mutex_unlock(&dev->mm_lock);
	wake_up_all(&dev->freed);
}

/* ---- what the worker does with it ---- */

int mlaccel_memory_destroy_numbered(struct mlaccel_device *dev, u32 id)
{
	struct mlaccel_memory *memory;

	mutex_lock(&dev->mm_lock);
	memory = xa_load(&dev->memories, id);
	/* A client's is not the worker's to destroy. */
	if (memory && memory->queue)
		take_out(memory);
	else
		memory = NULL;
	mutex_unlock(&dev->mm_lock);
	if (!memory)
		return -ENOENT;
	free_memory(memory);
	return 0;
}

int mlaccel_memory_evict(struct mlaccel_device *dev, u32 id)
{
	struct mlaccel_memory *memory;
	struct mlaccel_client *client;
	int ret;

	mutex_lock(&dev->mm_lock);
	memory = xa_load(&dev->memories, id);
	if (!memory || memory->state == MLACCEL_BO_LOST) {
		ret = -ENOENT;
	} else if (memory->state == MLACCEL_BO_EVICTED) {
		ret = -EALREADY;
	} else {
		client = memory->ctx->client;
		ret = mlaccel_move_charge(&memory->ctx->device, &client->host,
					  memory->range.size);
		if (!ret) {
			atomic64_add(memory->range.size, &client->evicted);
			mlaccel_pool_displace(&dev->pool, &memory->range);
			memory->state = MLACCEL_BO_EVICTED;
			trace_mlaccel_evict(memory);
		}
	}
	mutex_unlock(&dev->mm_lock);
	if (!ret)
		wake_up_all(&dev->freed);
	return ret;
}

int mlaccel_memory_restore(struct mlaccel_device *dev, u32 id, u64 *offset)
{
	struct mlaccel_memory *memory;
	struct mlaccel_client *client;
	int ret;

	mutex_lock(&dev->mm_lock);
	memory = xa_load(&dev->memories, id);
	if (!memory || memory->state == MLACCEL_BO_LOST) {
		ret = -ENOENT;
	} else if (memory->state == MLACCEL_BO_RESIDENT) {
		ret = -EALREADY;
	} else {
		client = memory->ctx->client;
		ret = place(dev, memory);
		if (!ret) {
			ret = mlaccel_move_charge(&client->host,
						  &memory->ctx->device,
						  memory->range.size);
			if (ret)
				mlaccel_pool_displace(&dev->pool,
						      &memory->range);
		}
		if (!ret) {
			atomic64_sub(memory->range.size, &client->evicted);
			memory->state = MLACCEL_BO_RESIDENT;
			*offset = memory->range.range.start;
		}
	}
	mutex_unlock(&dev->mm_lock);
	return ret;
}
