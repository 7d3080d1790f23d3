// SPDX-License-Identifier: GPL-2.0
/* Contexts: queues and device memory that stand and fall together. */
#include <linux/capability.h>
#include <linux/slab.h>

#include "mlaccel.h"

struct mlaccel_context *mlaccel_context_find(struct mlaccel_client *client,
					     u32 id)
{
	return xa_load(&client->contexts, id);
}

static void context_release(struct kref *ref)
{
	struct mlaccel_context *ctx =
		container_of(ref, struct mlaccel_context, ref);
	struct mlaccel_client *client = ctx->client;

	WARN_ON(ctx->device.used);
	kfree(ctx);
	mlaccel_client_put(client);
}

void mlaccel_context_put(struct mlaccel_context *ctx)
{
	kref_put(&ctx->ref, context_release);
}

int mlaccel_ctx_create_ioctl(struct drm_device *drm, void *data,
			     struct drm_file *file)
{
	struct drm_mlaccel_ctx_create *args = data;
	struct mlaccel_client *client = file->driver_priv;
	struct mlaccel_context *ctx;
	int ret;

	if (args->flags || args->pad || args->priority < -1 ||
	    args->priority > 1)
		return -EINVAL;
	if (args->timeout_ns && (args->timeout_ns < MLACCEL_TIMEOUT_MIN_NS ||
				 args->timeout_ns > MLACCEL_TIMEOUT_MAX_NS))
		return -EINVAL;
	if (args->priority > 0 && !capable(CAP_SYS_NICE))
		return -EPERM;
	ctx = kzalloc(sizeof(*ctx), GFP_KERNEL_ACCOUNT);
	if (!ctx)
		return -ENOMEM;
	kref_init(&ctx->ref);
	ctx->client = client;
	ctx->priority = args->priority;
	ctx->timeout_ns = args->timeout_ns ?:
		(u64)READ_ONCE(mlaccel_context_timeout_ms) * NSEC_PER_MSEC;
	mlaccel_account_init(&ctx->device,
			     args->memory_limit ?: MLACCEL_UNLIMITED,
			     &client->device);
	mutex_lock(&client->lock);
	if (client->context_count >= MLACCEL_CONTEXTS_MAX)
		ret = -ENOSPC;
	else
		ret = xa_alloc(&client->contexts, &ctx->id, ctx, xa_limit_31b,
			       MLACCEL_GFP_LOCKED);
	if (!ret) {
		client->context_count++;
		kref_get(&client->ref);
		args->context = ctx->id;
	}
	mutex_unlock(&client->lock);
	if (ret)
		kfree(ctx);
	return ret;
}

/* Under client->lock. */
static void end_queues(struct mlaccel_context *ctx)
{
	struct mlaccel_queue *q;

	list_for_each_entry(q, &ctx->client->queues, client_link)
		if (q->ctx == ctx)
			mlaccel_queue_end(q, -ECANCELED);
}

int mlaccel_ctx_destroy_ioctl(struct drm_device *drm, void *data,
			      struct drm_file *file)
{
	struct drm_mlaccel_ctx_destroy *args = data;
	struct mlaccel_client *client = file->driver_priv;
	struct mlaccel_context *ctx;

	if (args->pad)
		return -EINVAL;
	mutex_lock(&client->lock);
	ctx = xa_erase(&client->contexts, args->context);
	if (ctx) {
		client->context_count--;
		end_queues(ctx);
	}
	mutex_unlock(&client->lock);
	if (!ctx)
		return -ENOENT;
	mlaccel_context_put(ctx);
	return 0;
}

void mlaccel_contexts_close(struct mlaccel_client *client)
{
	struct mlaccel_context *ctx;
	unsigned long id;

	xa_for_each(&client->contexts, id, ctx) {
		xa_erase(&client->contexts, id);
		mlaccel_context_put(ctx);
	}
}

void mlaccel_context_lost(struct mlaccel_context *ctx, u32 generation)
{
	atomic_or(MLACCEL_CTX_INNOCENT, &ctx->state);
	if (xchg(&ctx->lost, generation) != generation)
		atomic_inc(&ctx->resets);
}

void mlaccel_context_guilty(struct mlaccel_context *ctx,
			    struct mlaccel_queue *hung)
{
	struct mlaccel_device *dev = hung->dev;
	struct mlaccel_queue *q;
	unsigned long id = 0;

	/* A queue that is being made has its number by now, or will see this. */
	mutex_lock(&dev->lock);
	atomic_or(MLACCEL_CTX_GUILTY, &ctx->state);
	mutex_unlock(&dev->lock);
	mlaccel_queue_end(hung, -ETIMEDOUT);
	while ((q = mlaccel_queue_next(dev, &id))) {
		if (q->ctx == ctx)
			mlaccel_queue_end(q, -ECANCELED);
		mlaccel_queue_put(q);
		cond_resched();
	}
}

int mlaccel_ctx_state_ioctl(struct drm_device *drm, void *data,
			    struct drm_file *file)
{
	struct drm_mlaccel_ctx_state *args = data;
	struct mlaccel_client *client = file->driver_priv;
	struct mlaccel_context *ctx;
	struct mlaccel_queue *q;

	if (args->flags || args->pad)
		return -EINVAL;
	mutex_lock(&client->lock);
	ctx = mlaccel_context_find(client, args->context);
	if (ctx) {
		list_for_each_entry(q, &client->queues, client_link)
			if (q->ctx == ctx)
				mlaccel_queue_advance(q);
		args->state = atomic_read(&ctx->state);
		args->resets = atomic_read(&ctx->resets);
		args->queues = atomic_read(&ctx->queues);
		args->memory_bytes = mlaccel_account_used(&ctx->device);
		args->completed = atomic64_read(&ctx->completed);
		args->busy_ns = atomic64_read(&ctx->busy_ns);
	}
	mutex_unlock(&client->lock);
	return ctx ? 0 : -ENOENT;
}
