// SPDX-License-Identifier: GPL-2.0
/*
 * A client: one open file of a device's node, and the user who opened it. All
 * that it holds is charged to that user, whoever the file is handed to.
 */
#include <linux/cred.h>
#include <linux/memcontrol.h>
#include <linux/pid.h>
#include <linux/slab.h>

#include "mlaccel.h"

/* Where DRM does not number clients itself. */
static atomic64_t last_client = ATOMIC64_INIT(0);

int mlaccel_client_open(struct drm_device *drm, struct drm_file *file)
{
	struct mlaccel_device *dev = to_mlaccel(drm);
	struct mlaccel_client *client;
	int ret;

	client = kzalloc(sizeof(*client), GFP_KERNEL_ACCOUNT);
	if (!client)
		return -ENOMEM;
	client->user = mlaccel_user_current();
	if (IS_ERR(client->user)) {
		ret = PTR_ERR(client->user);
		goto free;
	}
	mutex_lock(&dev->mm_lock);
	client->share = mlaccel_share_get(dev, client->user);
	mutex_unlock(&dev->mm_lock);
	if (IS_ERR(client->share)) {
		ret = PTR_ERR(client->share);
		goto put_user;
	}
	kref_init(&client->ref);
	client->dev = dev;
	client->id = mlaccel_client_number(file, &last_client);
	client->uid = current_euid();
	client->opener = get_task_pid(current, PIDTYPE_TGID);
	client->pid = task_tgid_nr(current);
	client->memcg = get_mem_cgroup_from_mm(current->mm);
	get_task_comm(client->comm, current);
	mlaccel_account_init(&client->host, MLACCEL_UNLIMITED,
			     &client->user->host);
	mlaccel_account_init(&client->device, dev->client_limit,
			     &client->share->account);
	mutex_init(&client->lock);
	xa_init_flags(&client->contexts, XA_FLAGS_ALLOC1);
	INIT_LIST_HEAD(&client->queues);
	drm_dev_get(drm);
	mutex_lock(&dev->lock);
	list_add_tail(&client->link, &dev->clients);
	dev->client_count++;
	mutex_unlock(&dev->lock);
	file->driver_priv = client;
	return 0;
put_user:
	mlaccel_user_put(client->user);
free:
	kfree(client);
	return ret;
}

static void client_release(struct kref *ref)
{
	struct mlaccel_client *client =
		container_of(ref, struct mlaccel_client, ref);
	struct mlaccel_device *dev = client->dev;

	WARN_ON(client->host.used || client->device.used);
	mem_cgroup_put(client->memcg);
	put_pid(client->opener);
	mutex_lock(&dev->mm_lock);
	mlaccel_share_put(dev, client->share);
	mutex_unlock(&dev->mm_lock);
	mlaccel_user_put(client->user);
	xa_destroy(&client->contexts);
	mutex_destroy(&client->lock);
	kfree(client);
	drm_dev_put(&dev->drm);
}

void mlaccel_client_put(struct mlaccel_client *client)
{
	kref_put(&client->ref, client_release);
}

void mlaccel_client_close(struct drm_device *drm, struct drm_file *file)
{
	struct mlaccel_device *dev = to_mlaccel(drm);
	struct mlaccel_client *client = file->driver_priv;

	mutex_lock(&dev->lock);
	list_del(&client->link);
	dev->client_count--;
	mutex_unlock(&dev->lock);
	mlaccel_queues_close(client);
	mlaccel_contexts_close(client);
	mlaccel_client_put(client);
}

int mlaccel_query_ioctl(struct drm_device *drm, void *data,
			struct drm_file *file)
{
	struct drm_mlaccel_dev_query *args = data;
	struct mlaccel_device *dev = to_mlaccel(drm);
	struct mlaccel_client *client = file->driver_priv;

	if (args->flags || args->pad)
		return -EINVAL;
	args->abi = MLACCEL_ABI;
	args->device = dev->number;
	mutex_lock(&dev->lock);
	args->generation = dev->generation;
	args->state = dev->worker ? MLACCEL_DEVICE_RUNNING :
				    MLACCEL_DEVICE_STOPPED;
	mutex_unlock(&dev->lock);
	args->client = client->id;
	mutex_lock(&dev->mm_lock);
	args->memory_bytes = dev->pool.bytes;
	args->memory_used = dev->pool.used;
	mutex_unlock(&dev->mm_lock);
	args->user_device_bytes = mlaccel_account_used(&client->share->account);
	args->user_device_limit = mlaccel_account_limit(&client->share->account);
	args->user_host_bytes = mlaccel_account_used(&client->user->host);
	args->user_host_limit = mlaccel_account_limit(&client->user->host);
	args->fence_timeout_ns =
		(u64)READ_ONCE(mlaccel_fence_timeout_ms) * NSEC_PER_MSEC;
	memcpy(args->name, dev->name, sizeof(args->name));
	memcpy(args->backend, dev->backend, sizeof(args->backend));
	memcpy(args->socket, dev->socket, sizeof(args->socket));
	return 0;
}
