// SPDX-License-Identifier: GPL-2.0
/*
 * BOs as dma-bufs: DRM exports and imports, this file gives it the pages. A
 * dma-buf is also how a client hands memory to the daemon: whoever holds the
 * descriptor was given it, and BO_LOOK says what it is.
 */
#include <linux/dma-buf.h>
#include <linux/iosys-map.h>
#include <linux/memcontrol.h>
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <drm/drm_prime.h>

#include "mlaccel.h"

int mlaccel_bo_pin(struct drm_gem_object *obj)
{
	return obj->import_attach ? 0 : mlaccel_bo_populate(to_mlaccel_bo(obj));
}

struct sg_table *mlaccel_bo_sg_table(struct drm_gem_object *obj)
{
	struct mlaccel_bo *bo = to_mlaccel_bo(obj);
	int ret = mlaccel_bo_populate(bo);

	if (ret)
		return ERR_PTR(ret);
	return drm_prime_pages_to_sg(obj->dev, bo->pages,
				     obj->size >> PAGE_SHIFT);
}

int mlaccel_bo_vmap(struct drm_gem_object *obj, struct iosys_map *map)
{
	struct mlaccel_bo *bo = to_mlaccel_bo(obj);
	void *address;
	int ret;

	if (obj->import_attach)
		return dma_buf_vmap(obj->import_attach->dmabuf, map);
	ret = mlaccel_bo_populate(bo);
	if (ret)
		return ret;
	address = vmap(bo->pages, obj->size >> PAGE_SHIFT, VM_MAP, PAGE_KERNEL);
	if (!address)
		return -ENOMEM;
	iosys_map_set_vaddr(map, address);
	return 0;
}

void mlaccel_bo_vunmap(struct drm_gem_object *obj, struct iosys_map *map)
{
	if (obj->import_attach)
		dma_buf_vunmap(obj->import_attach->dmabuf, map);
	else
		vunmap(map->vaddr);
}

/*
 * DRM makes the dma-buf's file under a lock of the device, and it is charged: see
 * MLACCEL_GFP_LOCKED. The root has no limit. It is one file for each BO.
 */
int mlaccel_bo_export(struct drm_device *drm, struct drm_file *file,
		      u32 handle, u32 flags, int *fd)
{
	struct mlaccel_client *client = file->driver_priv;
	struct mem_cgroup *root = client->memcg, *before;
	int ret;

	while (root && parent_mem_cgroup(root))
		root = parent_mem_cgroup(root);
	before = set_active_memcg(root);
	ret = drm_gem_prime_handle_to_fd(drm, file, handle, flags, fd);
	set_active_memcg(before);
	return ret;
}

/* What DRM's list of the pages of an imported object takes at most. */
static u64 table_bytes(const struct drm_gem_object *obj)
{
	return (obj->size >> PAGE_SHIFT) * sizeof(struct scatterlist);
}

/* Another driver's memory: of that only the table is charged here. */
struct drm_gem_object *mlaccel_bo_import(struct drm_device *drm,
					 struct dma_buf_attachment *attach,
					 struct sg_table *sgt)
{
	struct mlaccel_bo *bo;
	int ret;

	bo = kzalloc(sizeof(*bo), MLACCEL_GFP_LOCKED);
	if (!bo)
		return ERR_PTR(-ENOMEM);
	bo->importer = mlaccel_user_current();
	if (IS_ERR(bo->importer)) {
		ret = PTR_ERR(bo->importer);
		goto free;
	}
	bo->base.funcs = &mlaccel_host_funcs;
	bo->base.size = PAGE_ALIGN(attach->dmabuf->size);
	ret = mlaccel_charge(&bo->importer->host, table_bytes(&bo->base));
	if (ret)
		goto put_user;
	bo->sgt = sgt;
	drm_gem_private_object_init(drm, &bo->base, bo->base.size);
	return &bo->base;
put_user:
	mlaccel_user_put(bo->importer);
free:
	kfree(bo);
	return ERR_PTR(ret);
}

void mlaccel_bo_free_imported(struct mlaccel_bo *bo)
{
	drm_prime_gem_destroy(&bo->base, bo->sgt);
	mlaccel_uncharge(&bo->importer->host, table_bytes(&bo->base));
	mlaccel_user_put(bo->importer);
	drm_gem_object_release(&bo->base);
	kfree(bo);
}

int mlaccel_bo_mmap_imported(struct drm_gem_object *obj,
			     struct vm_area_struct *vma)
{
	int ret;

	/* The exporter's from here on; what DRM has set is not for it. */
	vma->vm_private_data = NULL;
	vma->vm_ops = NULL;
	vm_flags_set(vma, VM_DONTEXPAND | VM_DONTDUMP);
	ret = dma_buf_mmap(obj->import_attach->dmabuf, vma, 0);
	/* The mapping holds the dma-buf, not the object that DRM has taken for it. */
	if (!ret)
		drm_gem_object_put(obj);
	return ret;
}

int mlaccel_bo_look(struct mlaccel_device *dev, struct mlaccel_bo_look *args)
{
	struct dma_buf *buf;
	struct drm_gem_object *obj;
	struct mlaccel_bo *bo;
	int ret = 0;

	if (args->flags || args->pad)
		return -EINVAL;
	buf = dma_buf_get(args->fd);
	if (IS_ERR(buf))
		return -EBADF;
	/* DRM exports in the name of the driver that made the object. */
	if (buf->owner != THIS_MODULE) {
		ret = -EBADF;
		goto out;
	}
	obj = buf->priv;
	bo = to_mlaccel_bo(obj);
	/* Host memory is every device's, and outlives the one it was made on. */
	if (obj->dev != &dev->drm && bo->memory) {
		ret = -EXDEV;
		goto out;
	}
	args->size = obj->size;
	args->client = bo->client->id;
	args->uid = from_kuid_munged(current_user_ns(), bo->client->uid);
	args->bo_flags = bo->flags;
	args->bo = 0;
	args->address = 0;
	if (bo->memory) {
		mutex_lock(&dev->mm_lock);
		if (bo->memory->state == MLACCEL_BO_LOST) {
			ret = -ENODEV;
		} else {
			args->bo = bo->memory->id;
			args->address = bo->memory->range.address.start;
		}
		mutex_unlock(&dev->mm_lock);
	}
out:
	dma_buf_put(buf);
	return ret;
}
