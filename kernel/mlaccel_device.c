// SPDX-License-Identifier: GPL-2.0
/*
 * A device: one DRM device from DEV_REGISTER on, whose workers come and go. Its
 * parent is a platform device of its own, since DRM wants one and has no class
 * for what isn't on a bus.
 */
#include <linux/dma-mapping.h>
#include <linux/file.h>
#include <linux/slab.h>

#include "mlaccel.h"

/* Of the last device; under control_lock. */
static u32 last_number;

static void device_init(struct mlaccel_device *dev,
			const struct mlaccel_dev_register *args)
{
	dev->number = last_number;
	strscpy(dev->name, args->name, sizeof(dev->name));
	strscpy(dev->backend, args->backend, sizeof(dev->backend));
	strscpy(dev->socket, args->socket, sizeof(dev->socket));
	mutex_init(&dev->lock);
	INIT_LIST_HEAD(&dev->clients);
	xa_init_flags(&dev->queues, XA_FLAGS_ALLOC1);
	mutex_init(&dev->mm_lock);
	mlaccel_pool_init(&dev->pool, args->memory_bytes);
	xa_init_flags(&dev->memories, XA_FLAGS_ALLOC1);
	INIT_LIST_HEAD(&dev->shares);
	INIT_LIST_HEAD(&dev->requests);
	init_waitqueue_head(&dev->freed);
	dev->user_limit = args->user_limit ?: args->memory_bytes;
	dev->client_limit = args->client_limit ?: args->memory_bytes;
	INIT_DELAYED_WORK(&dev->watchdog, mlaccel_watchdog);
}

/* Behind the last close of anything of it. */
void mlaccel_device_release(struct drm_device *drm)
{
	struct mlaccel_device *dev = to_mlaccel(drm);

	if (!dev->number)
		return;
	xa_destroy(&dev->queues);
	xa_destroy(&dev->memories);
	mlaccel_pool_fini(&dev->pool);
	mutex_destroy(&dev->mm_lock);
	mutex_destroy(&dev->lock);
}

struct mlaccel_device *
mlaccel_device_register(const struct mlaccel_dev_register *args)
{
	struct platform_device *pdev;
	struct mlaccel_device *dev;
	int ret;

	pdev = platform_device_register_simple(MLACCEL_DRIVER_NAME,
					       ++last_number, NULL, 0);
	if (IS_ERR(pdev))
		return ERR_CAST(pdev);
	if (!devres_open_group(&pdev->dev, NULL, GFP_KERNEL)) {
		ret = -ENOMEM;
		goto unregister;
	}
	ret = dma_coerce_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64));
	if (ret)
		goto release;
	dev = devm_drm_dev_alloc(&pdev->dev, &mlaccel_driver,
				 struct mlaccel_device, drm);
	if (IS_ERR(dev)) {
		ret = PTR_ERR(dev);
		goto release;
	}
	dev->pdev = pdev;
	platform_set_drvdata(pdev, dev);
	device_init(dev, args);
	ret = mlaccel_sysfs_add(dev);
	if (ret)
		goto release;
	ret = drm_dev_register(&dev->drm, 0);
	if (ret) {
		mlaccel_sysfs_remove(dev);
		goto release;
	}
	mlaccel_debugfs_add(dev);
	return dev;
release:
	devres_release_group(&pdev->dev, NULL);
unregister:
	platform_device_unregister(pdev);
	return ERR_PTR(ret);
}

void mlaccel_device_unregister(struct mlaccel_device *dev)
{
	struct platform_device *pdev = dev->pdev;

	mlaccel_device_stop(dev);
	mlaccel_shares_forget_limits(dev);
	mlaccel_debugfs_remove(dev);
	mlaccel_sysfs_remove(dev);
	drm_dev_unplug(&dev->drm);
	/* Open files keep the DRM device, and it keeps its parent. */
	devres_release_group(&pdev->dev, NULL);
	platform_device_unregister(pdev);
}

/* Under dev->lock; answers the one before. */
static struct mlaccel_worker *set_worker(struct mlaccel_device *dev,
					 struct mlaccel_worker *next)
{
	struct mlaccel_worker *worker = dev->worker;

	/* Memory is made for the one or for the other. */
	mutex_lock(&dev->mm_lock);
	dev->worker = next;
	if (next)
		dev->generation = next->generation;
	mutex_unlock(&dev->mm_lock);
	return worker;
}

/* Under dev->lock. */
static int end_worker(struct mlaccel_device *dev)
{
	struct mlaccel_worker *worker = set_worker(dev, NULL);

	if (!worker)
		return -EALREADY;
	mlaccel_worker_kill(worker);
	mlaccel_worker_put(worker);
	return 0;
}

int mlaccel_device_stop(struct mlaccel_device *dev)
{
	int ret;

	mutex_lock(&dev->lock);
	ret = end_worker(dev);
	mutex_unlock(&dev->lock);
	/* Of one that is dying right now, too: behind this no fence is armed. */
	mlaccel_worker_end_queues(dev, NULL);
	cancel_delayed_work_sync(&dev->watchdog);
	return ret;
}

struct file *mlaccel_device_start(struct mlaccel_device *dev, bool replace)
{
	struct mlaccel_worker *worker;
	struct file *file;

	mutex_lock(&dev->lock);
	worker = dev->worker;
	mutex_unlock(&dev->lock);
	if (worker && !replace)
		return ERR_PTR(-EBUSY);
	file = mlaccel_worker_file(dev, dev->generation + 1);
	if (IS_ERR(file))
		return file;
	worker = file->private_data;
	kref_get(&worker->ref);
	mutex_lock(&dev->lock);
	end_worker(dev);
	/* Its file may be closing right now: the next one finds nothing of it. */
	mlaccel_memories_lost(dev, dev->generation);
	set_worker(dev, worker);
	mutex_unlock(&dev->lock);
	mlaccel_watchdog_start(dev);
	return file;
}
