// SPDX-License-Identifier: GPL-2.0
/*
 * The control node: one process at a time registers devices, starts and stops
 * their workers, and sets limits. What it registered goes when it does, however
 * it ends, so nothing is left behind that a successor would have to adopt.
 */
#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/user_namespace.h>

#include "mlaccel.h"

static DEFINE_MUTEX(control_lock);
static bool control_open;
static LIST_HEAD(devices);

static struct mlaccel_device *find_device(u32 number)
{
	struct mlaccel_device *dev;

	list_for_each_entry(dev, &devices, link)
		if (dev->number == number)
			return dev;
	return NULL;
}

static long get_features(struct mlaccel_features *args)
{
	if (args->pad)
		return -EINVAL;
	args->abi = MLACCEL_ABI;
	args->features = IS_ENABLED(CONFIG_DRM_ACCEL) ?
				 MLACCEL_FEATURE_ACCEL_NODE : 0;
	args->host_limit = mlaccel_host_limit();
	args->fence_timeout_ns =
		(u64)READ_ONCE(mlaccel_fence_timeout_ms) * NSEC_PER_MSEC;
	return 0;
}

/* A name that ends within its field; empty ones only where that is allowed. */
static bool name_ok(const char *field, size_t size, bool may_be_empty)
{
	size_t length = strnlen(field, size);

	return length < size && (may_be_empty || length);
}

static long dev_register(struct mlaccel_dev_register *args)
{
	struct mlaccel_device *dev;

	if (args->flags || args->pad ||
	    !name_ok(args->name, sizeof(args->name), false) ||
	    !name_ok(args->backend, sizeof(args->backend), false) ||
	    !name_ok(args->socket, sizeof(args->socket), true) ||
	    strchr(args->name, '/') || !strcmp(args->name, ".") ||
	    !strcmp(args->name, "..") || !args->memory_bytes ||
	    !PAGE_ALIGNED(args->memory_bytes) ||
	    args->memory_bytes > 1ull << 46 ||
	    args->user_limit > args->memory_bytes ||
	    args->client_limit > args->memory_bytes)
		return -EINVAL;
	list_for_each_entry(dev, &devices, link)
		if (!strcmp(dev->name, args->name))
			return -EEXIST;
	dev = mlaccel_device_register(args);
	if (IS_ERR(dev))
		return PTR_ERR(dev);
	list_add_tail(&dev->link, &devices);
	args->device = dev->number;
	args->minor = mlaccel_minor(&dev->drm)->index;
	return 0;
}

static void unregister(struct mlaccel_device *dev)
{
	list_del(&dev->link);
	mlaccel_device_unregister(dev);
}

static long dev_start(struct mlaccel_dev_start *args, bool replace)
{
	struct mlaccel_device *dev = find_device(args->device);
	struct file *file;
	int fd;

	if (args->flags)
		return -EINVAL;
	if (!dev)
		return -ENOENT;
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		return fd;
	file = mlaccel_device_start(dev, replace);
	if (IS_ERR(file)) {
		put_unused_fd(fd);
		return PTR_ERR(file);
	}
	args->generation =
		((struct mlaccel_worker *)file->private_data)->generation;
	args->fd = fd;
	fd_install(fd, file);
	return 0;
}

static long dev_call(unsigned int number, const struct mlaccel_dev *args)
{
	struct mlaccel_device *dev = find_device(args->device);

	if (args->pad)
		return -EINVAL;
	if (!dev)
		return -ENOENT;
	if (number == MLACCEL_DEV_STOP)
		return mlaccel_device_stop(dev);
	unregister(dev);
	return 0;
}

static long set_limit(const struct mlaccel_set_limit *args)
{
	kuid_t uid = make_kuid(current_user_ns(), args->uid);
	struct mlaccel_device *dev;

	if (!uid_valid(uid))
		return -EINVAL;
	if (!args->device)
		return mlaccel_user_set_host_limit(uid, args->bytes);
	dev = find_device(args->device);
	return dev ? mlaccel_share_set_limit(dev, uid, args->bytes) : -ENOENT;
}

static long control_call(struct file *file, unsigned int number, void *data)
{
	long ret;

	if (mutex_lock_interruptible(&control_lock))
		return -ERESTARTSYS;
	switch (number) {
	case MLACCEL_GET_FEATURES:
		ret = get_features(data);
		break;
	case MLACCEL_DEV_REGISTER:
		ret = dev_register(data);
		break;
	case MLACCEL_DEV_START:
		ret = dev_start(data, false);
		break;
	case MLACCEL_DEV_RECOVER:
		ret = dev_start(data, true);
		break;
	case MLACCEL_SET_LIMIT:
		ret = set_limit(data);
		break;
	default:
		ret = dev_call(number, data);
		break;
	}
	mutex_unlock(&control_lock);
	return ret;
}

static const unsigned int control_commands[] = {
	MLACCEL_GET_FEATURES, MLACCEL_DEV_REGISTER, MLACCEL_DEV_UNREGISTER,
	MLACCEL_DEV_START,    MLACCEL_DEV_STOP,	    MLACCEL_DEV_RECOVER,
	MLACCEL_SET_LIMIT,
};

/*
 * Copies the structure in, whatever size the caller knows it to have, calls,
 * and copies it out again when that succeeded and the call answers something.
 */
long mlaccel_ioctl_copied(struct file *file, unsigned int cmd,
			  unsigned long arg,
			  long (*call)(struct file *file, unsigned int number,
				       void *data),
			  const unsigned int *commands, size_t count)
{
	void __user *user = (void __user *)arg;
	size_t user_size = _IOC_SIZE(cmd);
	unsigned int known = 0;
	size_t size, i;
	bool answers;
	void *data;
	long ret;

	for (i = 0; i < count; i++)
		if (_IOC_TYPE(cmd) == MLACCEL_IOCTL &&
		    _IOC_NR(cmd) == _IOC_NR(commands[i]) &&
		    _IOC_DIR(cmd) == _IOC_DIR(commands[i]))
			known = commands[i];
	if (!known)
		return -ENOTTY;
	if (!user_size)
		return -EINVAL;
	size = _IOC_SIZE(known);
	data = kzalloc(size, GFP_KERNEL);
	if (!data)
		return -ENOMEM;
	answers = _IOC_DIR(known) & _IOC_READ;
	ret = copy_struct_from_user(data, size, user, user_size);
	/* What can't be answered is not begun. */
	if (!ret && answers && copy_to_user(user, data, min(size, user_size)))
		ret = -EFAULT;
	if (!ret)
		ret = call(file, known, data);
	if (!ret && answers && copy_to_user(user, data, min(size, user_size)))
		ret = -EFAULT;
	kfree(data);
	return ret;
}

static long control_ioctl(struct file *file, unsigned int cmd,
			  unsigned long arg)
{
	return mlaccel_ioctl_copied(file, cmd, arg, control_call,
				    control_commands,
				    ARRAY_SIZE(control_commands));
}

static int control_file_open(struct inode *inode, struct file *file)
{
	int ret = 0;

	mutex_lock(&control_lock);
	if (control_open)
		ret = -EBUSY;
	else
		control_open = true;
	mutex_unlock(&control_lock);
	return ret ? ret : nonseekable_open(inode, file);
}

static int control_file_release(struct inode *inode, struct file *file)
{
	struct mlaccel_device *dev, *next;

	mutex_lock(&control_lock);
	list_for_each_entry_safe(dev, next, &devices, link)
		unregister(dev);
	mlaccel_users_forget_limits();
	control_open = false;
	mutex_unlock(&control_lock);
	return 0;
}

static const struct file_operations control_fops = {
	.owner		= THIS_MODULE,
	.open		= control_file_open,
	.release	= control_file_release,
	.unlocked_ioctl	= control_ioctl,
	.compat_ioctl	= compat_ptr_ioctl,
};

static struct miscdevice control_node = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "mlaccel-control",
	.fops	= &control_fops,
	.mode	= 0600,
};

int mlaccel_control_init(void)
{
	return misc_register(&control_node);
}

void mlaccel_control_exit(void)
{
	misc_deregister(&control_node);
}
