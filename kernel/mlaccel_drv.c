// SPDX-License-Identifier: GPL-2.0
/*
 * mlaccel: memory and command queues of accelerators whose computing is done by
 * a worker process in user space. This file: the module, its parameters, and the
 * table of what a client may ask.
 */
#include <linux/module.h>
#include <drm/drm_ioctl.h>
#include <drm/drm_prime.h>

#include "mlaccel.h"

unsigned int mlaccel_host_limit_percent = 25;
module_param_named(host_limit_percent, mlaccel_host_limit_percent, uint, 0644);
MODULE_PARM_DESC(host_limit_percent,
		 "host memory that one user may hold, in percent of RAM (25)");

unsigned int mlaccel_host_total_percent = 75;
module_param_named(host_total_percent, mlaccel_host_total_percent, uint, 0644);
MODULE_PARM_DESC(host_total_percent,
		 "host memory that all users together may hold, in percent of RAM (75)");

unsigned int mlaccel_context_timeout_ms = 10000;
module_param_named(context_timeout_ms, mlaccel_context_timeout_ms, uint, 0644);
MODULE_PARM_DESC(context_timeout_ms,
		 "work may run so long where its context says nothing else (10000)");

unsigned int mlaccel_fence_timeout_ms = 10000;
module_param_named(fence_timeout_ms, mlaccel_fence_timeout_ms, uint, 0644);
MODULE_PARM_DESC(fence_timeout_ms,
		 "every fence has signalled after so long (10000)");

unsigned int mlaccel_evict_timeout_ms = 1000;
module_param_named(evict_timeout_ms, mlaccel_evict_timeout_ms, uint, 0644);
MODULE_PARM_DESC(evict_timeout_ms,
		 "a worker may take so long to give memory back (1000)");

unsigned int mlaccel_watchdog_ms = 1000;
module_param_named(watchdog_ms, mlaccel_watchdog_ms, uint, 0644);
MODULE_PARM_DESC(watchdog_ms, "queues are looked at so often (1000)");

const struct file_operations mlaccel_node_fops = {
	.owner		= THIS_MODULE,
	.open		= mlaccel_node_open,
	.release	= drm_release,
	.unlocked_ioctl	= drm_ioctl,
	.compat_ioctl	= drm_compat_ioctl,
	.poll		= drm_poll,
	.read		= drm_read,
	.llseek		= noop_llseek,
	.mmap		= drm_gem_mmap,
	.show_fdinfo	= mlaccel_node_show_fdinfo,
	MLACCEL_FOP_FLAGS
};

#define CLIENT_IOCTL(name, handler) \
	DRM_IOCTL_DEF_DRV(MLACCEL_##name, handler, DRM_RENDER_ALLOW)

static const struct drm_ioctl_desc mlaccel_ioctls[] = {
	CLIENT_IOCTL(DEV_QUERY, mlaccel_query_ioctl),
	CLIENT_IOCTL(BO_CREATE, mlaccel_bo_create_ioctl),
	CLIENT_IOCTL(BO_INFO, mlaccel_bo_info_ioctl),
	CLIENT_IOCTL(CTX_CREATE, mlaccel_ctx_create_ioctl),
	CLIENT_IOCTL(CTX_DESTROY, mlaccel_ctx_destroy_ioctl),
	CLIENT_IOCTL(CTX_STATE, mlaccel_ctx_state_ioctl),
	CLIENT_IOCTL(QUEUE_CREATE, mlaccel_queue_create_ioctl),
	CLIENT_IOCTL(QUEUE_DESTROY, mlaccel_queue_destroy_ioctl),
	CLIENT_IOCTL(DOORBELL, mlaccel_doorbell_ioctl),
	CLIENT_IOCTL(FENCE_ARM, mlaccel_fence_arm_ioctl),
	CLIENT_IOCTL(WAIT, mlaccel_wait_ioctl),
};

const struct drm_driver mlaccel_driver = {
	.driver_features = MLACCEL_NODE_FEATURE | DRIVER_GEM | DRIVER_SYNCOBJ |
			   DRIVER_SYNCOBJ_TIMELINE,
	.name = MLACCEL_DRIVER_NAME,
	.desc = "accelerators shared through worker processes",
	.date = "20261127",
	.major = MLACCEL_ABI,
	.fops = &mlaccel_node_fops,
	.ioctls = mlaccel_ioctls,
	.num_ioctls = ARRAY_SIZE(mlaccel_ioctls),
	.open = mlaccel_client_open,
	.postclose = mlaccel_client_close,
	.release = mlaccel_device_release,
	.prime_handle_to_fd = mlaccel_bo_export,
	.prime_fd_to_handle = drm_gem_prime_fd_to_handle,
	.gem_prime_import_sg_table = mlaccel_bo_import,
	MLACCEL_PRIME_MMAP
	MLACCEL_SHOW_FDINFO(mlaccel_show_fdinfo)
};

static int __init mlaccel_init(void)
{
	int ret;

	ret = mlaccel_bo_init();
	if (ret)
		return ret;
	mlaccel_debugfs_init();
	ret = mlaccel_control_init();
	if (ret) {
		mlaccel_debugfs_exit();
		mlaccel_bo_exit();
	}
	return ret;
}

static void __exit mlaccel_exit(void)
{
	mlaccel_control_exit();
	mlaccel_debugfs_exit();
	mlaccel_bo_exit();
}

module_init(mlaccel_init);
module_exit(mlaccel_exit);

MODULE_DESCRIPTION("mlaccel: memory and queues of shared accelerators");
MODULE_AUTHOR("The mlaccel authors");
MODULE_LICENSE("GPL");
MODULE_VERSION("0.1.0");
MODULE_IMPORT_NS(DMA_BUF);
