// SPDX-License-Identifier: GPL-2.0
/*
 * /proc/PID/fdinfo/FD of a client: what drm-usage-stats.rst says, plus the number
 * of descriptors that were completed. Times are what workers report; they only grow.
 */
#include <drm/drm_print.h>

#include "mlaccel.h"

static void show_bytes(struct drm_printer *p, const char *key, u64 bytes)
{
	drm_printf(p, "%s:\t%llu KiB\n", key, bytes >> 10);
}

void mlaccel_show_fdinfo(struct drm_printer *p, struct drm_file *file)
{
	struct mlaccel_client *client = file->driver_priv;
	struct mlaccel_queue *q;
	u64 device, evicted, host, queues = 0;

	if (mutex_lock_killable(&client->lock))
		return;
	list_for_each_entry(q, &client->queues, client_link) {
		mlaccel_queue_advance(q);
		queues += q->pages.layout.bytes;
	}
	mutex_unlock(&client->lock);
	device = mlaccel_account_used(&client->device);
	host = mlaccel_account_used(&client->host);
	evicted = atomic64_read(&client->evicted);
	drm_printf(p, "drm-engine-compute:\t%lld ns\n",
		   atomic64_read(&client->busy_ns));
	drm_printf(p, "mlaccel-completed:\t%lld\n",
		   atomic64_read(&client->completed));
	show_bytes(p, "drm-total-device", device + evicted);
	show_bytes(p, "drm-resident-device", device);
	show_bytes(p, "drm-total-host", host);
	show_bytes(p, "drm-resident-host",
		   atomic64_read(&client->resident) + queues + evicted);
}

void mlaccel_node_show_fdinfo(struct seq_file *m, struct file *file)
{
#ifdef MLACCEL_HAS_DRM_FDINFO
	drm_show_fdinfo(m, file);
#else
	struct drm_file *drm_file = file->private_data;
	struct mlaccel_client *client = drm_file->driver_priv;
	struct drm_printer p = drm_seq_file_printer(m);

	drm_printf(&p, "drm-driver:\t%s\n", MLACCEL_DRIVER_NAME);
	drm_printf(&p, "drm-client-id:\t%llu\n", client->id);
	mlaccel_show_fdinfo(&p, drm_file);
#endif
}
