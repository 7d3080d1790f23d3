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
	u32 generation;		/* of the worker that is asked */
	bool told;
	bool answered;
};

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

bool mlaccel_memory_next_request(struct mlaccel_worker *w,
				 struct mlaccel_event *event)
{
	struct mlaccel_device *dev = w->dev;
	struct request *r;
	bool found = false;

	mutex_lock(&dev->mm_lock);
	list_for_each_entry(r, &dev->requests, link) {
		if (r->told || r->generation != w->generation)
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

void mlaccel_memory_retell(struct mlaccel_worker *w, u64 number)
{
	struct mlaccel_device *dev = w->dev;
	struct request *r;

	mutex_lock(&dev->mm_lock);
	r = find_request(dev, number);
	if (r && !READ_ONCE(w->dead))
		set_told(dev, r, false);
	mutex_unlock(&dev->mm_lock);
}

int mlaccel_memory_freed(struct mlaccel_worker *w, u64 number)
{
	struct mlaccel_device *dev = w->dev;
	struct request *r;

	mutex_lock(&dev->mm_lock);
	r = find_request(dev, number);
	if (r && r->generation != w->generation)
		r = NULL;
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
	       READ_ONCE(dev->generation) != r->generation ||
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
		.generation = memory->generation,
		.deadline_ns = ktime_get_ns() + patience,
		.told = true,
	};
	long ret = 0;
	u64 free, now;
	int placed;

	list_add_tail(&r.link, &dev->requests);
	set_told(dev, &r, false);
	mutex_unlock(&dev->mm_lock);
	ask_worker(dev);
	mutex_lock(&dev->mm_lock);
	for (;;) {
		placed = place(dev, memory);
		now = ktime_get_ns();
		if (placed != -ENOSPC || r.answered || ret < 0 ||
		    now >= r.deadline_ns)
			break;
		free = dev->pool.bytes - dev->pool.used;
		mutex_unlock(&dev->mm_lock);
		ret = wait_event_killable_timeout(dev->freed,
						  worth_trying(dev, &r, free),
						  nsecs_to_jiffies(r.deadline_ns - now) + 1);
		mutex_lock(&dev->mm_lock);
	}
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

	/* What is free may be taken all the same, but nothing more evicted for it. */
	if (ret != -ENOSPC || !wait || mlaccel_host_total_exceeded())
		return ret;
	debtor = mlaccel_share_debtor(dev, share, memory->range.size);
	return debtor ? wait_for_room(dev, memory, debtor) : ret;
}

static struct mlaccel_memory *memory_alloc(struct mlaccel_device *dev,
					   const struct mlaccel_memory_args *args)
{
	struct mlaccel_client *client = args->ctx->client;
	struct mlaccel_memory *memory;
	int ret = -ENOMEM;

	if (atomic_inc_return(&client->memories) > MLACCEL_MEMORIES_MAX) {
		atomic_dec(&client->memories);
		return ERR_PTR(-ENOSPC);
	}
	memory = kzalloc(sizeof(*memory), GFP_KERNEL_ACCOUNT);
	if (!memory)
		goto uncount;
	ret = mlaccel_range_init(&memory->range, args->size, args->alignment);
	/* Else taking and being evicted, again and again, would have no end. */
	if (!ret && mlaccel_account_exceeded(&client->user->host))
		ret = -EDQUOT;
	if (!ret)
		ret = mlaccel_charge(&args->ctx->device, memory->range.size);
	if (ret)
		goto free;
	mlaccel_context_get(args->ctx);
	memory->dev = dev;
	memory->ctx = args->ctx;
	memory->generation = args->generation;
	memory->state = MLACCEL_BO_RESIDENT;
	INIT_LIST_HEAD(&memory->queue_link);
	return memory;
free:
	kfree(memory);
uncount:
	atomic_dec(&client->memories);
	return ERR_PTR(ret);
}

static void free_memory(struct mlaccel_memory *memory)
{
	wake_up_all(&memory->dev->freed);
	atomic_dec(&memory->ctx->client->memories);
	mlaccel_context_put(memory->ctx);
	kfree(memory);
}

struct mlaccel_memory *
mlaccel_memory_create(struct mlaccel_device *dev,
		      const struct mlaccel_memory_args *args,
		      struct mlaccel_place *place)
{
	struct mlaccel_memory *memory = memory_alloc(dev, args);
	int ret;

	if (IS_ERR(memory))
		return memory;
	mutex_lock(&dev->mm_lock);
	ret = mlaccel_pool_add(&dev->pool, &memory->range);
	if (!ret)
		ret = place_or_wait(dev, memory, args->wait);
	/* Behind the wait: its worker may have let go of the queue. */
	if (!ret && args->q && !READ_ONCE(args->q->mapped))
		ret = -ENOENT;
	if (!ret) {
		ret = xa_alloc_cyclic(&dev->memories, &memory->id, memory,
				      xa_limit_31b, &dev->next_memory,
				      MLACCEL_GFP_LOCKED);
		ret = min(ret, 0);
	}
	if (ret) {
		mlaccel_pool_remove(&dev->pool, &memory->range);
	} else if (args->q) {
		memory->q = args->q;
		list_add_tail(&memory->queue_link, &args->q->memories);
		*place = (struct mlaccel_place){
			.id = memory->id,
			.address = memory->range.address.start,
			.offset = memory->range.range.start,
		};
	}
	mutex_unlock(&dev->mm_lock);
	if (!ret)
		return memory;
	mlaccel_uncharge(&args->ctx->device, memory->range.size);
	free_memory(memory);
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
	list_del_init(&memory->queue_link);
	mlaccel_pool_remove(&dev->pool, &memory->range);
	uncharge(memory);
}

void mlaccel_memory_destroy(struct mlaccel_memory *memory)
{
	struct mlaccel_device *dev = memory->dev;

	mutex_lock(&dev->mm_lock);
	take_out(memory);
	mutex_unlock(&dev->mm_lock);
	free_memory(memory);
}

/* Behind unmapping: nothing is added any more. */
void mlaccel_memories_of_queue(struct mlaccel_queue *q)
{
	struct mlaccel_device *dev = q->dev;
	struct mlaccel_memory *memory;

	for (;;) {
		mutex_lock(&dev->mm_lock);
		memory = list_first_entry_or_null(&q->memories,
						  struct mlaccel_memory,
						  queue_link);
		if (memory)
			take_out(memory);
		mutex_unlock(&dev->mm_lock);
		if (!memory)
			return;
		free_memory(memory);
	}
}

void mlaccel_memories_lost(struct mlaccel_device *dev, u32 generation)
{
	struct mlaccel_memory *memory;
	struct request *r;
	unsigned int count = 0;
	unsigned long id;

	mutex_lock(&dev->mm_lock);
	/* Nobody is left to be told; the next worker's read() isn't to wait for it. */
	list_for_each_entry(r, &dev->requests, link)
		if (r->generation == generation)
			set_told(dev, r, true);
	xa_for_each(&dev->memories, id, memory) {
		if (memory->generation == generation &&
		    memory->state != MLACCEL_BO_LOST) {
			mlaccel_pool_remove(&dev->pool, &memory->range);
			uncharge(memory);
			memory->state = MLACCEL_BO_LOST;
			mlaccel_context_lost(memory->ctx, generation);
		}
		/* Others may have a turn: what comes is of the next generation. */
		if (++count % 256 == 0) {
			mutex_unlock(&dev->mm_lock);
			cond_resched();
			mutex_lock(&dev->mm_lock);
		}
	}
	mutex_unlock(&dev->mm_lock);
	wake_up_all(&dev->freed);
}

/* ---- what the worker does with it ---- */

/* One that this worker holds; -ENOENT is for those of others too. Under mm_lock. */
static struct mlaccel_memory *find_held(struct mlaccel_worker *w, u32 id)
{
	struct mlaccel_memory *memory = xa_load(&w->dev->memories, id);

	if (!memory || memory->generation != w->generation ||
	    memory->state == MLACCEL_BO_LOST)
		return NULL;
	return memory;
}

int mlaccel_memory_destroy_numbered(struct mlaccel_worker *w, u32 id)
{
	struct mlaccel_device *dev = w->dev;
	struct mlaccel_memory *memory;

	mutex_lock(&dev->mm_lock);
	memory = find_held(w, id);
	/* A client's is not the worker's to destroy. */
	if (memory && memory->q)
		take_out(memory);
	else
		memory = NULL;
	mutex_unlock(&dev->mm_lock);
	if (!memory)
		return -ENOENT;
	free_memory(memory);
	return 0;
}

/* A full host limit is no way to keep what others are owed. */
static int evict(struct mlaccel_device *dev, struct mlaccel_memory *memory)
{
	struct mlaccel_client *client = memory->ctx->client;

	if (memory->state == MLACCEL_BO_EVICTED)
		return -EALREADY;
	mlaccel_move_charge_anyway(&memory->ctx->device, &client->host,
				   memory->range.size);
	atomic64_add(memory->range.size, &client->evicted);
	mlaccel_pool_displace(&dev->pool, &memory->range);
	memory->state = MLACCEL_BO_EVICTED;
	trace_mlaccel_evict(memory);
	return 0;
}

static int restore(struct mlaccel_device *dev, struct mlaccel_memory *memory)
{
	struct mlaccel_client *client = memory->ctx->client;
	int ret;

	if (memory->state == MLACCEL_BO_RESIDENT)
		return -EALREADY;
	ret = place(dev, memory);
	if (ret)
		return ret;
	ret = mlaccel_move_charge(&client->host, &memory->ctx->device,
				  memory->range.size);
	if (ret) {
		mlaccel_pool_displace(&dev->pool, &memory->range);
		return ret;
	}
	atomic64_sub(memory->range.size, &client->evicted);
	memory->state = MLACCEL_BO_RESIDENT;
	return 0;
}

int mlaccel_memory_evict(struct mlaccel_worker *w, u32 id)
{
	struct mlaccel_device *dev = w->dev;
	struct mlaccel_memory *memory;
	int ret;

	mutex_lock(&dev->mm_lock);
	memory = find_held(w, id);
	ret = memory ? evict(dev, memory) : -ENOENT;
	mutex_unlock(&dev->mm_lock);
	if (!ret)
		wake_up_all(&dev->freed);
	return ret;
}

int mlaccel_memory_restore(struct mlaccel_worker *w, u32 id, u64 *offset)
{
	struct mlaccel_device *dev = w->dev;
	struct mlaccel_memory *memory;
	int ret;

	mutex_lock(&dev->mm_lock);
	memory = find_held(w, id);
	ret = memory ? restore(dev, memory) : -ENOENT;
	if (!ret)
		*offset = memory->range.range.start;
	mutex_unlock(&dev->mm_lock);
	return ret;
}
