/* SPDX-License-Identifier: GPL-2.0 */
/* Every difference between the kernels that this is built for; Kbuild probes the headers. */
#ifndef MLACCEL_COMPAT_H
#define MLACCEL_COMPAT_H

#include <linux/eventfd.h>
#include <linux/mm.h>
#include <drm/drm_drv.h>
#include <drm/drm_file.h>
#if IS_ENABLED(CONFIG_DRM_ACCEL)
#include <drm/drm_accel.h>
#endif

/* The node of a device: accel where the kernel has that class, else render. */
#if IS_ENABLED(CONFIG_DRM_ACCEL)
#define MLACCEL_NODE_FEATURE	DRIVER_COMPUTE_ACCEL
#define mlaccel_node_open	accel_open
static inline struct drm_minor *mlaccel_minor(struct drm_device *drm)
{
	return drm->accel;
}
#else
#define MLACCEL_NODE_FEATURE	DRIVER_RENDER
#define mlaccel_node_open	drm_open
static inline struct drm_minor *mlaccel_minor(struct drm_device *drm)
{
	return drm->render;
}
#endif

#ifdef MLACCEL_HAS_FOP_UNSIGNED_OFFSET
#define MLACCEL_FOP_FLAGS	.fop_flags = FOP_UNSIGNED_OFFSET,
#else
#define MLACCEL_FOP_FLAGS
#endif

/* fdinfo: newer DRM numbers clients itself, and prints its part before the driver's. */
#ifdef MLACCEL_HAS_DRM_FDINFO
#define MLACCEL_SHOW_FDINFO(show)	.show_fdinfo = (show),
static inline u64 mlaccel_client_number(struct drm_file *file, atomic64_t *last)
{
	return file->client_id;
}
#else
#define MLACCEL_SHOW_FDINFO(show)
static inline u64 mlaccel_client_number(struct drm_file *file, atomic64_t *last)
{
	return atomic64_inc_return(last);
}
#endif

/* Mapping a dma-buf of ours: newer DRM always does it the one way there is. */
#ifdef MLACCEL_HAS_GEM_PRIME_MMAP
#define MLACCEL_PRIME_MMAP	.gem_prime_mmap = drm_gem_prime_mmap,
#else
#define MLACCEL_PRIME_MMAP
#endif

#ifndef MLACCEL_HAS_VM_FLAGS_SET
static inline void vm_flags_set(struct vm_area_struct *vma, vm_flags_t flags)
{
	vma->vm_flags |= flags;
}

static inline void vm_flags_clear(struct vm_area_struct *vma, vm_flags_t flags)
{
	vma->vm_flags &= ~flags;
}
#endif

static inline void mlaccel_eventfd_signal(struct eventfd_ctx *ctx)
{
#ifdef MLACCEL_HAS_EVENTFD_SIGNAL_ONE
	eventfd_signal(ctx);
#else
	eventfd_signal(ctx, 1);
#endif
}

/* In trace events. */
#ifdef MLACCEL_HAS_ASSIGN_STR_ONE
#define mlaccel_assign_str(dst, src)	__assign_str(dst)
#else
#define mlaccel_assign_str(dst, src)	__assign_str(dst, src)
#endif

#endif
