// SPDX-License-Identifier: GPL-2.0
/*
 * Buffer objects. A host BO is shmem pages that are pinned as they are touched
 * and mapped as ordinary pages of their file, by a fault handler of its own: so
 * futexes, O_DIRECT and whatever else pins user pages work on its mappings,
 * which they do not on those of the DRM helpers. Its pages stay as long as it.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/fs.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/mount.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>
#include <drm/drm_prime.h>
#include <drm/drm_vma_manager.h>

#include "mlaccel.h"

/*
 * The files of host BOs. A mount of our own has no huge pages, whatever is set for
 * others (but for shmem_enabled=force): a BO of one page would take 512.
 */
static struct vfsmount *files;

int __init mlaccel_bo_init(void)
{
	struct file_system_type *type = get_fs_type("tmpfs");

	if (!type)
		return -ENODEV;
	files = kern_mount(type);
	return PTR_ERR_OR_ZERO(files);
}

void mlaccel_bo_exit(void)
{
	kern_unmount(files);
}

/* ---- its pages ---- */

/* Pinned for long, so not where pages are expected to move. */
#define BO_GFP	GFP_HIGHUSER

/* The topmost group at or above `memcg` that is full; NULL: there is none. */
static struct mem_cgroup *full_group(struct mem_cgroup *memcg)
{
	struct mem_cgroup *full = NULL;

#ifdef CONFIG_MEMCG
	for (; memcg; memcg = parent_mem_cgroup(memcg))
		if (page_counter_read(&memcg->memory) >=
		    READ_ONCE(memcg->memory.max))
			full = memcg;
#endif
	return full;
}

/* A page for which `memcg` pays. */
static struct page *read_page(struct mlaccel_bo *bo, pgoff_t at,
			      struct mem_cgroup *memcg, gfp_t gfp)
{
	struct address_space *mapping = file_inode(bo->base.filp)->i_mapping;
	struct mem_cgroup *before = set_active_memcg(memcg);
	struct page *page;

	page = shmem_read_mapping_page_gfp(mapping, at, gfp | __GFP_NOWARN);
	set_active_memcg(before);
	return page;
}

/* Once: what its group can't hold is held elsewhere no longer than that takes. */
static void kill_opener(struct mlaccel_client *client)
{
	if (xchg(&client->killed, 1) || kill_pid(client->opener, SIGKILL, 1))
		return;
	pr_warn_ratelimited("process %d (%s) killed: its memory cgroup is full, and its memory was touched\n",
			    client->pid, client->comm);
}

/*
 * Whoever touches a page first, its client pays. Somebody of the client's group
 * does that as in any other fault, with its OOM killer. Others, as the worker, are
 * neither held up in that nor pay themselves: where the group is full the client
 * is killed, and the page is charged to the first group above that isn't.
 */
static struct page *touch_page(struct mlaccel_bo *bo, pgoff_t at)
{
	struct mlaccel_client *client = bo->client;
	struct mem_cgroup *memcg = client->memcg, *full;
	struct page *page;

	if (!memcg || (current->mm && mm_match_cgroup(current->mm, memcg)))
		return read_page(bo, at, memcg, BO_GFP);
	/* Reclaim in a large group takes its time: not again for each page. */
	page = read_page(bo, at, memcg, READ_ONCE(client->killed) ?
			 BO_GFP & ~__GFP_DIRECT_RECLAIM :
			 BO_GFP | __GFP_NORETRY);
	/* The machine may be short, or the group was full a moment ago. */
	if (page == ERR_PTR(-ENOMEM) && !full_group(memcg))
		page = read_page(bo, at, memcg, BO_GFP | __GFP_RETRY_MAYFAIL);
	while (page == ERR_PTR(-ENOMEM) && parent_mem_cgroup(memcg)) {
		full = full_group(memcg);
		if (full)
			kill_opener(client);
		memcg = parent_mem_cgroup(full ?: memcg);
		/* The root has no limit: what it lacks the machine lacks. */
		page = read_page(bo, at, memcg, parent_mem_cgroup(memcg) ?
				 BO_GFP | __GFP_NORETRY : BO_GFP);
	}
	return page;
}

/* Under locks of whoever imports it: nobody is killed there, it may fail. */
static struct page *pin_page(struct mlaccel_bo *bo, pgoff_t at)
{
	return read_page(bo, at, bo->client->memcg,
			 BO_GFP | __GFP_RETRY_MAYFAIL);
}

/* The page with that number, which the BO keeps. */
static struct page *bo_page(struct mlaccel_bo *bo, pgoff_t at,
			    struct page *(*read)(struct mlaccel_bo *bo,
						 pgoff_t at))
{
	struct page *page = READ_ONCE(bo->pages[at]);

	if (page)
		return page;
	page = read(bo, at);
	if (IS_ERR(page))
		return page;
	if (cmpxchg(&bo->pages[at], NULL, page))
		put_page(page);		/* another thread was first, with the same */
	else
		atomic64_add(PAGE_SIZE, &bo->client->resident);
	return page;
}

int mlaccel_bo_populate(struct mlaccel_bo *bo)
{
	pgoff_t count = bo->base.size >> PAGE_SHIFT, at;

	for (at = 0; at < count; at++) {
		struct page *page = bo_page(bo, at, pin_page);

		if (IS_ERR(page))
			return PTR_ERR(page);
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	return 0;
}

static vm_fault_t host_fault(struct vm_fault *vmf)
{
	struct mlaccel_bo *bo = to_mlaccel_bo(vmf->vma->vm_private_data);
	struct page *page;

	if (vmf->pgoff >= bo->base.size >> PAGE_SHIFT)
		return VM_FAULT_SIGBUS;
	page = bo_page(bo, vmf->pgoff, touch_page);
	if (IS_ERR(page))
		return vmf_error(PTR_ERR(page));
	get_page(page);
	vmf->page = page;
	return 0;
}

static const struct vm_operations_struct host_vm_ops = {
	.open	= drm_gem_vm_open,
	.close	= drm_gem_vm_close,
	.fault	= host_fault,
};

static int host_mmap(struct drm_gem_object *obj, struct vm_area_struct *vma)
{
	if (obj->import_attach)
		return mlaccel_bo_mmap_imported(obj, vma);
	if (is_cow_mapping(vma->vm_flags))
		return -EINVAL;
	/* Pages of the BO from here on, not of DRM's address space of fakes. */
	vma->vm_pgoff -= drm_vma_node_start(&obj->vma_node);
	vm_flags_set(vma, VM_DONTEXPAND | VM_DONTDUMP);
	return 0;
}

static void host_free(struct drm_gem_object *obj)
{
	struct mlaccel_bo *bo = to_mlaccel_bo(obj);
	pgoff_t count = obj->size >> PAGE_SHIFT, at;
	u64 resident = 0;

	if (obj->import_attach) {
		mlaccel_bo_free_imported(bo);
		return;
	}
	mapping_clear_unevictable(file_inode(obj->filp)->i_mapping);
	for (at = 0; at < count; at++) {
		if (!bo->pages[at])
			continue;
		put_page(bo->pages[at]);
		resident += PAGE_SIZE;
		cond_resched();
	}
	kvfree(bo->pages);
	atomic64_sub(resident, &bo->client->resident);
	mlaccel_uncharge(&bo->client->host, obj->size);
	drm_gem_object_release(obj);
	mlaccel_client_put(bo->client);
	kfree(bo);
}

const struct drm_gem_object_funcs mlaccel_host_funcs = {
	.free = host_free,
	.pin = mlaccel_bo_pin,
	.get_sg_table = mlaccel_bo_sg_table,
	.vmap = mlaccel_bo_vmap,
	.vunmap = mlaccel_bo_vunmap,
	.mmap = host_mmap,
	.vm_ops = &host_vm_ops,
};

static int device_mmap(struct drm_gem_object *obj, struct vm_area_struct *vma)
{
	return -ENXIO;
}

static struct sg_table *device_sg_table(struct drm_gem_object *obj)
{
	return ERR_PTR(-EOPNOTSUPP);
}

static void device_free(struct drm_gem_object *obj)
{
	struct mlaccel_bo *bo = to_mlaccel_bo(obj);

	mlaccel_memory_destroy(bo->memory);
	drm_gem_object_release(obj);
	mlaccel_client_put(bo->client);
	kfree(bo);
}

const struct drm_gem_object_funcs mlaccel_device_funcs = {
	.free = device_free,
	.get_sg_table = device_sg_table,
	.mmap = device_mmap,
};

/* ---- making one ---- */

static struct mlaccel_bo *bo_alloc(struct mlaccel_client *client, u32 flags)
{
	struct mlaccel_bo *bo = kzalloc(sizeof(*bo), GFP_KERNEL_ACCOUNT);

	if (!bo)
		return NULL;
	kref_get(&client->ref);
	bo->client = client;
	bo->flags = flags;
	bo->base.funcs = flags & MLACCEL_BO_DEVICE ? &mlaccel_device_funcs :
						     &mlaccel_host_funcs;
	return bo;
}

static void bo_forget(struct mlaccel_bo *bo)
{
	mlaccel_client_put(bo->client);
	kfree(bo);
}

static struct mlaccel_bo *create_host(struct drm_device *drm,
				      struct mlaccel_client *client, u64 size)
{
	struct address_space *mapping;
	struct mlaccel_bo *bo;
	struct file *file;
	int ret;

	ret = mlaccel_charge(&client->host, size);
	if (ret)
		return ERR_PTR(ret);
	ret = -ENOMEM;
	bo = bo_alloc(client, MLACCEL_BO_HOST);
	if (!bo)
		goto uncharge;
	bo->pages = kvcalloc(size >> PAGE_SHIFT, sizeof(*bo->pages),
			     GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (!bo->pages)
		goto forget;
	/* What can't be reserved is refused here, not in a fault; want of an inode too. */
	file = shmem_file_setup_with_mnt(files, "mlaccel", size, 0);
	if (IS_ERR(file))
		goto free_pages;
	drm_gem_private_object_init(drm, &bo->base, size);
	bo->base.filp = file;
	mapping = file_inode(bo->base.filp)->i_mapping;
	mapping_set_gfp_mask(mapping, BO_GFP);
	mapping_set_unevictable(mapping);
	/* Before anybody can map it: DRM adds the offset and mmap takes it away. */
	ret = drm_gem_create_mmap_offset(&bo->base);
	if (!ret)
		return bo;
	drm_gem_object_release(&bo->base);
free_pages:
	kvfree(bo->pages);
forget:
	bo_forget(bo);
uncharge:
	mlaccel_uncharge(&client->host, size);
	return ERR_PTR(ret);
}

static struct mlaccel_bo *create_device(struct drm_device *drm,
					struct mlaccel_client *client,
					const struct drm_mlaccel_bo_create *args)
{
	struct mlaccel_device *dev = to_mlaccel(drm);
	struct mlaccel_context *ctx;
	struct mlaccel_memory *memory;
	struct mlaccel_bo *bo;
	u32 generation;

	mutex_lock(&client->lock);
	ctx = mlaccel_context_find(client, args->context);
	if (ctx)
		mlaccel_context_get(ctx);
	mutex_unlock(&client->lock);
	if (!ctx)
		return ERR_PTR(-ENOENT);
	bo = bo_alloc(client, MLACCEL_BO_DEVICE);
	if (!bo) {
		mlaccel_context_put(ctx);
		return ERR_PTR(-ENOMEM);
	}
	/* One worker may just be following the other. */
	mutex_lock(&dev->lock);
	generation = dev->generation;
	mutex_unlock(&dev->lock);
	memory = mlaccel_memory_create(dev, &(struct mlaccel_memory_args){
		.ctx = ctx,
		.size = args->size,
		.alignment = args->alignment,
		.generation = generation,
		.wait = true,
	}, NULL);
	mlaccel_context_put(ctx);
	if (IS_ERR(memory)) {
		bo_forget(bo);
		return ERR_CAST(memory);
	}
	bo->memory = memory;
	drm_gem_private_object_init(drm, &bo->base, memory->range.size);
	return bo;
}

int mlaccel_bo_create_ioctl(struct drm_device *drm, void *data,
			    struct drm_file *file)
{
	struct drm_mlaccel_bo_create *args = data;
	struct mlaccel_client *client = file->driver_priv;
	struct mlaccel_bo *bo;
	u64 size;
	int ret;

	if (args->pad || args->flags & ~MLACCEL_BO_FLAGS || !args->size ||
	    check_add_overflow(args->size, (u64)PAGE_SIZE - 1, &size))
		return -EINVAL;
	size &= PAGE_MASK;
	if (args->flags & MLACCEL_BO_DEVICE) {
		bo = create_device(drm, client, args);
	} else {
		if (args->alignment || args->context || size > MAX_LFS_FILESIZE)
			return -EINVAL;
		bo = create_host(drm, client, size);
	}
	if (IS_ERR(bo))
		return PTR_ERR(bo);
	ret = drm_gem_handle_create(file, &bo->base, &args->handle);
	/* The handle holds it, or nothing does. */
	drm_gem_object_put(&bo->base);
	return ret;
}

static void device_info(struct mlaccel_memory *memory,
			struct drm_mlaccel_bo_info *args)
{
	struct mlaccel_device *dev = memory->dev;

	mutex_lock(&dev->mm_lock);
	args->state = memory->state;
	if (memory->state != MLACCEL_BO_LOST)
		args->address = memory->range.address.start;
	if (mlaccel_range_resident(&memory->range))
		args->pool_offset = memory->range.range.start;
	mutex_unlock(&dev->mm_lock);
}

int mlaccel_bo_info_ioctl(struct drm_device *drm, void *data,
			  struct drm_file *file)
{
	struct drm_mlaccel_bo_info *args = data;
	struct drm_gem_object *obj;
	struct mlaccel_bo *bo;
	int ret = 0;

	if (args->flags || args->pad)
		return -EINVAL;
	obj = drm_gem_object_lookup(file, args->handle);
	if (!obj)
		return -ENOENT;
	bo = to_mlaccel_bo(obj);
	args->flags = bo->flags;
	args->size = obj->size;
	args->map_offset = 0;
	args->address = 0;
	args->pool_offset = 0;
	if (bo->memory) {
		device_info(bo->memory, args);
	} else {
		args->state = obj->import_attach ? MLACCEL_BO_IMPORTED :
						   MLACCEL_BO_RESIDENT;
		/* Imported ones, and there once. */
		ret = drm_gem_create_mmap_offset(obj);
		if (!ret)
			args->map_offset = drm_vma_node_offset_addr(&obj->vma_node);
	}
	drm_gem_object_put(obj);
	return ret;
}
