/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT */
/* What mlaccel_drm.h and mlaccel_control.h have in common. */
#ifndef MLACCEL_ABI_H
#define MLACCEL_ABI_H

#include <linux/types.h>
#ifdef __KERNEL__
#include <linux/build_bug.h>
#include <linux/stddef.h>
#else
#include <stddef.h>
#endif

#define MLACCEL_ABI	2u	/* counts up when something is added */
#define MLACCEL_NAME	64	/* bytes of a name, final zero included */
#define MLACCEL_PATH	128	/* bytes of a path, final zero included */

#ifdef __cplusplus
#define MLACCEL_STATIC_ASSERT(what)	static_assert(what, #what)
#else
#define MLACCEL_STATIC_ASSERT(what)	_Static_assert(what, #what)
#endif
#define MLACCEL_SIZE(type, bytes) \
	MLACCEL_STATIC_ASSERT(sizeof(struct type) == (bytes))
#define MLACCEL_OFFSET(type, field, bytes) \
	MLACCEL_STATIC_ASSERT(offsetof(struct type, field) == (bytes))

#endif
