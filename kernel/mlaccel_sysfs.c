// SPDX-License-Identifier: GPL-2.0
/* A device's attributes, in /sys/class/{accel,drm}/NODE/device/. */
#include <linux/device.h>
#include <linux/sysfs.h>

#include "mlaccel.h"

static struct mlaccel_device *device_of(struct device *parent)
{
	return dev_get_drvdata(parent);
}

static ssize_t name_show(struct device *parent, struct device_attribute *attr,
			 char *out)
{
	return sysfs_emit(out, "%s\n", device_of(parent)->name);
}
static DEVICE_ATTR_RO(name);

static ssize_t backend_show(struct device *parent,
			    struct device_attribute *attr, char *out)
{
	return sysfs_emit(out, "%s\n", device_of(parent)->backend);
}
static DEVICE_ATTR_RO(backend);

static ssize_t state_show(struct device *parent, struct device_attribute *attr,
			  char *out)
{
	return sysfs_emit(out, "%s\n", READ_ONCE(device_of(parent)->worker) ?
					       "running" : "stopped");
}
static DEVICE_ATTR_RO(state);

static ssize_t generation_show(struct device *parent,
			       struct device_attribute *attr, char *out)
{
	return sysfs_emit(out, "%u\n", READ_ONCE(device_of(parent)->generation));
}
static DEVICE_ATTR_RO(generation);

static ssize_t memory_bytes_show(struct device *parent,
				 struct device_attribute *attr, char *out)
{
	return sysfs_emit(out, "%llu\n", device_of(parent)->pool.bytes);
}
static DEVICE_ATTR_RO(memory_bytes);

static ssize_t memory_used_show(struct device *parent,
				struct device_attribute *attr, char *out)
{
	struct mlaccel_device *dev = device_of(parent);
	u64 used;

	mutex_lock(&dev->mm_lock);
	used = dev->pool.used;
	mutex_unlock(&dev->mm_lock);
	return sysfs_emit(out, "%llu\n", used);
}
static DEVICE_ATTR_RO(memory_used);

static ssize_t clients_show(struct device *parent,
			    struct device_attribute *attr, char *out)
{
	return sysfs_emit(out, "%u\n",
			  READ_ONCE(device_of(parent)->client_count));
}
static DEVICE_ATTR_RO(clients);

/* Those that have not ended. */
static ssize_t queues_show(struct device *parent,
			   struct device_attribute *attr, char *out)
{
	struct mlaccel_device *dev = device_of(parent);
	struct mlaccel_queue *q;
	unsigned int count = 0;
	unsigned long id = 0;

	while ((q = mlaccel_queue_next(dev, &id))) {
		count += !READ_ONCE(q->error);
		mlaccel_queue_put(q);
	}
	return sysfs_emit(out, "%u\n", count);
}
static DEVICE_ATTR_RO(queues);

static struct attribute *attributes[] = {
	&dev_attr_name.attr,	     &dev_attr_backend.attr,
	&dev_attr_state.attr,	     &dev_attr_generation.attr,
	&dev_attr_memory_bytes.attr, &dev_attr_memory_used.attr,
	&dev_attr_clients.attr,	     &dev_attr_queues.attr,
	NULL
};

static const struct attribute_group group = { .attrs = attributes };

int mlaccel_sysfs_add(struct mlaccel_device *dev)
{
	return sysfs_create_group(&dev->pdev->dev.kobj, &group);
}

void mlaccel_sysfs_remove(struct mlaccel_device *dev)
{
	sysfs_remove_group(&dev->pdev->dev.kobj, &group);
}
