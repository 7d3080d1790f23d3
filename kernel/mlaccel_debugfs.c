// SPDX-License-Identifier: GPL-2.0
/* /sys/kernel/debug/mlaccel/DEVICE/: who is there, and who holds what. */
#include <linux/debugfs.h>
#include <linux/module.h>
#include <linux/seq_file.h>
#include <drm/drm_print.h>

#include "mlaccel.h"

static struct dentry *root;

static int clients_show(struct seq_file *m, void *unused)
{
	struct mlaccel_device *dev = m->private;
	struct mlaccel_client *client;

	seq_puts(m, "client uid pid host device completed busy_ns command\n");
	mutex_lock(&dev->lock);
	list_for_each_entry(client, &dev->clients, link)
		seq_printf(m, "%llu %u %d %llu %llu %lld %lld %s\n", client->id,
			   from_kuid_munged(&init_user_ns, client->uid),
			   client->pid, mlaccel_account_used(&client->host),
			   mlaccel_account_used(&client->device),
			   atomic64_read(&client->completed),
			   atomic64_read(&client->busy_ns), client->comm);
	mutex_unlock(&dev->lock);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(clients);

static int queues_show(struct seq_file *m, void *unused)
{
	struct mlaccel_device *dev = m->private;
	struct mlaccel_queue *q;
	unsigned long id = 0;

	seq_puts(m, "queue client context priority depth generation mapped error submitted completed marks\n");
	while ((q = mlaccel_queue_next(dev, &id))) {
		spin_lock_irq(&q->lock);
		seq_printf(m, "%u %llu %u %d %u %u %d %d %llu %llu %u\n", q->id,
			   q->ctx->client->id, q->ctx->id, q->ctx->priority,
			   q->pages.layout.depth, q->generation,
			   READ_ONCE(q->mapped), q->error,
			   q->progress.submitted, q->progress.completed,
			   q->marks.count[0] + q->marks.count[1]);
		spin_unlock_irq(&q->lock);
		mlaccel_queue_put(q);
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(queues);

static const char *state_name(u32 state)
{
	switch (state) {
	case MLACCEL_BO_RESIDENT:
		return "resident";
	case MLACCEL_BO_EVICTED:
		return "evicted";
	default:
		return "lost";
	}
}

static int memory_show(struct seq_file *m, void *unused)
{
	struct mlaccel_device *dev = m->private;
	struct drm_printer p = drm_seq_file_printer(m);
	struct mlaccel_memory *memory;
	unsigned long id;

	seq_puts(m, "bo client uid queue state address bytes\n");
	mutex_lock(&dev->mm_lock);
	xa_for_each(&dev->memories, id, memory) {
		struct mlaccel_client *client = memory->ctx->client;

		seq_printf(m, "%u %llu %u %u %s %#llx %llu\n", memory->id,
			   client->id,
			   from_kuid_munged(&init_user_ns, client->uid),
			   memory->q ? memory->q->id : 0,
			   state_name(memory->state),
			   memory->range.address.start, memory->range.size);
	}
	drm_mm_print(&dev->pool.ranges, &p);
	mutex_unlock(&dev->mm_lock);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(memory);

void mlaccel_debugfs_add(struct mlaccel_device *dev)
{
	dev->debugfs = debugfs_create_dir(dev->name, root);
	debugfs_create_file("clients", 0400, dev->debugfs, dev, &clients_fops);
	debugfs_create_file("queues", 0400, dev->debugfs, dev, &queues_fops);
	debugfs_create_file("memory", 0400, dev->debugfs, dev, &memory_fops);
}

void mlaccel_debugfs_remove(struct mlaccel_device *dev)
{
	debugfs_remove_recursive(dev->debugfs);
}

void mlaccel_debugfs_init(void)
{
	root = debugfs_create_dir(MLACCEL_DRIVER_NAME, NULL);
}

void mlaccel_debugfs_exit(void)
{
	debugfs_remove_recursive(root);
}
