// SPDX-License-Identifier: GPL-2.0
/*
 * A queue's pages: made once, never purgeable, never reused while anything maps
 * them, and each part writable by one side alone. Mappings hold the queue, so
 * that its pages stay charged and readable however it ends.
 */
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "mlaccel.h"

int mlaccel_pages_alloc(struct mlaccel_pages *p, u32 depth, u32 generation)
{
	const struct mlring_layout *l = &p->layout;
	unsigned int count;

	if (!mlring_compute_layout(&p->layout, depth, PAGE_SIZE))
		return -EINVAL;
	count = l->bytes >> PAGE_SHIFT;
	p->pages = kvcalloc(count, sizeof(*p->pages), GFP_KERNEL_ACCOUNT);
	if (!p->pages)
		return -ENOMEM;
	/* Not high memory: the first page of each part is read from here. */
	for (p->count = 0; p->count < count; p->count++) {
		p->pages[p->count] = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO |
						__GFP_RETRY_MAYFAIL |
						__GFP_NOWARN);
		if (!p->pages[p->count]) {
			mlaccel_pages_free(p);
			return -ENOMEM;
		}
	}
	p->submission = page_address(p->pages[l->submission_offset >> PAGE_SHIFT]);
	p->completion = page_address(p->pages[l->completion_offset >> PAGE_SHIFT]);
	p->state = page_address(p->pages[l->state_offset >> PAGE_SHIFT]);
	p->submission->tail = MLRING_START;
	p->submission->completion_head = MLRING_START;
	p->completion->completion_tail = MLRING_START;
	p->completion->submission_head = MLRING_START;
	p->completion->completed_sequence = MLRING_START;
	p->state->state = MLRING_STATE_ACTIVE;
	p->state->generation = generation;
	p->state->notify_at = MLRING_NEVER;
	return 0;
}

void mlaccel_pages_free(struct mlaccel_pages *p)
{
	while (p->count)
		__free_page(p->pages[--p->count]);
	kvfree(p->pages);
	p->pages = NULL;
}

static vm_fault_t pages_fault(struct vm_fault *vmf)
{
	struct mlaccel_queue *q = vmf->vma->vm_private_data;
	const struct mlaccel_pages *p = &q->pages;
	/* The worker's offsets carry the queue's number above the layout's. */
	pgoff_t at = vmf->pgoff & ((1ul << (24 - PAGE_SHIFT)) - 1);

	if (at >= p->count)
		return VM_FAULT_SIGBUS;
	get_page(p->pages[at]);
	vmf->page = p->pages[at];
	return 0;
}

static void pages_open(struct vm_area_struct *vma)
{
	struct mlaccel_queue *q = vma->vm_private_data;

	kref_get(&q->ref);
}

static void pages_close(struct vm_area_struct *vma)
{
	mlaccel_queue_put(vma->vm_private_data);
}

static const struct vm_operations_struct pages_vm_ops = {
	.open	= pages_open,
	.close	= pages_close,
	.fault	= pages_fault,
};

int mlaccel_queue_mmap(struct mlaccel_queue *q, struct vm_area_struct *vma,
		       u64 offset, bool is_worker)
{
	const struct mlring_layout *l = &q->pages.layout;
	u64 bytes = vma->vm_end - vma->vm_start;
	bool submission, completion, may_write;

	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	submission = mlring_range_ok(offset - l->submission_offset, bytes,
				     l->submission_bytes);
	completion = offset >= l->completion_offset &&
		     mlring_range_ok(offset - l->completion_offset, bytes,
				     l->completion_bytes);
	if (!submission && !completion &&
	    (offset < l->state_offset ||
	     !mlring_range_ok(offset - l->state_offset, bytes, l->state_bytes)))
		return -EINVAL;
	may_write = is_worker ? completion : submission;
	if (vma->vm_flags & VM_EXEC ||
	    (vma->vm_flags & VM_WRITE && !may_write))
		return -EACCES;
	vm_flags_clear(vma, VM_MAYEXEC);
	if (!may_write)
		vm_flags_clear(vma, VM_MAYWRITE);
	vm_flags_set(vma, VM_DONTEXPAND | VM_DONTDUMP);
	vma->vm_ops = &pages_vm_ops;
	vma->vm_private_data = q;
	pages_open(vma);
	return 0;
}
