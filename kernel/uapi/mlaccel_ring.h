/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT */
/*
 * The ring: how work gets from a client to the worker that owns a device, and
 * how answers come back. The kernel module, the worker, the client library
 * and their tests all include this file; nobody else knows the layout.
 *
 * A queue is three runs of pages, each written by one side only:
 *
 *   submission pages  written by the client: descriptors, the producer index
 *                     of descriptors, the consumer index of completions and
 *                     whether the client sleeps.
 *   completion pages  written by the worker: completions, their producer
 *                     index, the consumer index of descriptors, the watermark,
 *                     whether the worker has parked the ring, error messages.
 *   state page        written by the owner of the queue (the kernel, mld
 *                     without it, or the embedded worker's process).
 *
 * One thread produces and one consumes on each ring. Both rings have the same
 * depth, a power of two fixed at creation and never read from shared memory.
 * Indices are free-running u32 that start near wrap-around. A descriptor's
 * sequence number is its 64-bit ring position, so its low half is its index.
 *
 * Life of a descriptor: the client writes it, publishes the index and rings
 * the doorbell if the ring is parked. The worker copies it once, checks the
 * copy and uses the copy. Exactly one completion answers it, in any order. A
 * client may have as many descriptors without a completion read as the
 * rings are deep, so completing can't fail, and a client that stops
 * reading harms only itself: the worker takes no more than that.
 *
 * The other side is hostile: each side keeps its own indices privately, and an
 * index of the other side that can't be ends the queue for good. A bad
 * descriptor or argument only fails that descriptor.
 */
#ifndef MLACCEL_RING_H
#define MLACCEL_RING_H

#ifdef __KERNEL__
#include <linux/build_bug.h>
#include <linux/compiler.h>
#include <linux/stddef.h>
#include <linux/types.h>
#include <asm/barrier.h>
#define MLRING_LOAD(p)			READ_ONCE(*(p))
#define MLRING_STORE(p, v)		WRITE_ONCE(*(p), (v))
#define MLRING_LOAD_ACQUIRE(p)		smp_load_acquire(p) /* see its uses */
#define MLRING_STORE_RELEASE(p, v)	smp_store_release((p), (v)) /* see its uses */
#define MLRING_FULL_FENCE()		smp_mb() /* see its uses */
#else
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#define MLRING_LOAD(p)			__atomic_load_n((p), __ATOMIC_RELAXED)
#define MLRING_STORE(p, v)		__atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define MLRING_LOAD_ACQUIRE(p)		__atomic_load_n((p), __ATOMIC_ACQUIRE)
#define MLRING_STORE_RELEASE(p, v)	__atomic_store_n((p), (v), __ATOMIC_RELEASE)
/* ThreadSanitizer knows no fences; what they order here it does not watch. */
#define MLRING_FULL_FENCE()		__sync_synchronize()
#endif

#ifdef __cplusplus
#define MLRING_STATIC_ASSERT(what)	static_assert(what, #what)
#else
#define MLRING_STATIC_ASSERT(what)	_Static_assert(what, #what)
#endif
#define MLRING_SIZE(type, bytes) \
	MLRING_STATIC_ASSERT(sizeof(struct type) == (bytes))
#define MLRING_OFFSET(type, field, bytes) \
	MLRING_STATIC_ASSERT(offsetof(struct type, field) == (bytes))

/* Counts that everybody agrees on. */
#define MLRING_VERSION		1u
#define MLRING_START		0xfffffff0u	/* first index and first sequence */
#define MLRING_DEPTH_MIN	2u
#define MLRING_DEPTH_MAX	32768u
#define MLRING_RANK_MAX		8u
#define MLRING_ARGUMENTS_MAX	16384u		/* of one descriptor */
#define MLRING_ERROR_BYTES	65536u		/* a queue's error area */
#define MLRING_MESSAGE_MAX	4096u		/* one message in it */
#define MLRING_NEVER		0xffffffffffffffffull /* notify_at: nobody waits */

/*
 * A thing the worker holds: memory, a program, a queue. The generation changes
 * when an index is used again, so an old handle is refused; 0 means no handle.
 */
struct mlring_handle {
	uint32_t index;
	uint32_t generation;
};

MLRING_SIZE(mlring_handle, 8);
MLRING_OFFSET(mlring_handle, index, 0);
MLRING_OFFSET(mlring_handle, generation, 4);

/*
 * Opcodes. Fields not named must be zero. "Arguments" are records of the
 * argument table; memory is freed, copied and executed on in submission order
 * where descriptors of one queue touch the same handle.
 *
 *   NOP      answers.
 *   COMPILE  argument 0: the graph in its FlatBuffers form (IN, u8, rank 1, in
 *            an arena); arguments 1...: the blobs that its constants refer to,
 *            in order (IN, u8, rank 1, in arenas). Result: the program.
 *   EXECUTE  handle: the program. Arguments: the program's inputs, then its
 *            outputs, in the program's order. A donated input and the output
 *            that takes its place both say INOUT and name the same memory.
 *            The worker writes rank, dims and needed of each output back.
 *   COPY     argument 0 (IN) to argument 1 (OUT) of the same dtype and dims.
 *   ALLOC    operand: bytes, may be 0. Result: the memory, zeroed.
 *   FREE     handle: memory or program. Takes effect behind earlier uses.
 *   WAIT     handle: a queue; operand: a sequence. Completes when all of that
 *            queue's descriptors up to and including it have; with AFTER on
 *            the next descriptor, that one waits too.
 *   CANCEL   operand: a sequence of this queue. Completes with bytes = 1 when
 *            that descriptor will complete as CANCELLED, 0 when it was too late.
 */
#define MLRING_OP_NOP		0u
#define MLRING_OP_COMPILE	1u
#define MLRING_OP_EXECUTE	2u
#define MLRING_OP_COPY		3u
#define MLRING_OP_ALLOC		4u
#define MLRING_OP_FREE		5u
#define MLRING_OP_WAIT		6u
#define MLRING_OP_CANCEL	7u
#define MLRING_OP_COUNT		8u

/* Descriptor flags. */
#define MLRING_AFTER		1u	/* behind all earlier ones of this queue */
#define MLRING_FLAGS		MLRING_AFTER

struct mlring_descriptor {
	uint64_t user_data;		/* comes back in the completion */
	uint32_t opcode;		/* MLRING_OP_* */
	uint32_t flags;			/* MLRING_AFTER */
	struct mlring_handle handle;	/* see the opcode */
	uint32_t argument_arena;	/* where the table lies; 0: no arguments */
	uint32_t argument_count;	/* records in it */
	uint64_t argument_offset;	/* in the arena, a multiple of 8 */
	uint64_t deadline;		/* CLOCK_MONOTONIC ns; 0: none */
	uint64_t operand;		/* see the opcode */
	uint32_t reserved[2];		/* zero */
};

MLRING_SIZE(mlring_descriptor, 64);
MLRING_OFFSET(mlring_descriptor, user_data, 0);
MLRING_OFFSET(mlring_descriptor, opcode, 8);
MLRING_OFFSET(mlring_descriptor, flags, 12);
MLRING_OFFSET(mlring_descriptor, handle, 16);
MLRING_OFFSET(mlring_descriptor, argument_arena, 24);
MLRING_OFFSET(mlring_descriptor, argument_count, 28);
MLRING_OFFSET(mlring_descriptor, argument_offset, 32);
MLRING_OFFSET(mlring_descriptor, deadline, 40);
MLRING_OFFSET(mlring_descriptor, operand, 48);
MLRING_OFFSET(mlring_descriptor, reserved, 56);

/* Directions of an argument, as the worker sees it. */
#define MLRING_IN		1u
#define MLRING_OUT		2u
#define MLRING_INOUT		3u

/*
 * Element types; new ones are appended. From MLRING_F8E4M3FN on they are
 * narrow: each element has a byte of its own, in its low bits, whatever its
 * width.
 */
#define MLRING_F64		1u
#define MLRING_F32		2u
#define MLRING_F16		3u
#define MLRING_BF16		4u
#define MLRING_I8		5u
#define MLRING_I16		6u
#define MLRING_I32		7u
#define MLRING_I64		8u
#define MLRING_U8		9u
#define MLRING_U16		10u
#define MLRING_U32		11u
#define MLRING_U64		12u
#define MLRING_BOOL		13u	/* one byte, 0 or 1 */
#define MLRING_F8E4M3FN		14u
#define MLRING_F8E4M3FNUZ	15u
#define MLRING_F8E5M2		16u
#define MLRING_F8E5M2FNUZ	17u
#define MLRING_F8E8M0		18u
#define MLRING_F4E2M1		19u
#define MLRING_I4		20u
#define MLRING_U4		21u
#define MLRING_I2		22u
#define MLRING_U2		23u

/*
 * An argument: dense row-major elements in an arena or behind a handle, one of
 * the two. rank and dims say what an IN or INOUT holds; what they say of an
 * OUT is not used. TOO_SMALL: an OUT needs more bytes than its capacity; needed
 * says how many, of each output. Where the sizes follow from the inputs' dims
 * this is found before anything executes, so donated memory is as it was.
 */
struct mlring_argument {
	uint32_t direction;		/* MLRING_IN, OUT, INOUT */
	uint32_t dtype;			/* MLRING_F64 ... */
	uint32_t rank;			/* at most 8; the worker writes it back */
	uint32_t arena;			/* from 1; 0: behind the handle */
	uint64_t dims[MLRING_RANK_MAX];	/* from rank on zero; written back */
	struct mlring_handle handle;	/* generation 0: in the arena */
	uint64_t offset;		/* bytes into either, a multiple of an element */
	uint64_t capacity;		/* bytes from there that are the argument's */
	uint64_t needed;		/* written back: bytes of the actual dims */
	uint64_t reserved[2];		/* zero */
};

MLRING_SIZE(mlring_argument, 128);
MLRING_OFFSET(mlring_argument, direction, 0);
MLRING_OFFSET(mlring_argument, dtype, 4);
MLRING_OFFSET(mlring_argument, rank, 8);
MLRING_OFFSET(mlring_argument, arena, 12);
MLRING_OFFSET(mlring_argument, dims, 16);
MLRING_OFFSET(mlring_argument, handle, 80);
MLRING_OFFSET(mlring_argument, offset, 88);
MLRING_OFFSET(mlring_argument, capacity, 96);
MLRING_OFFSET(mlring_argument, needed, 104);
MLRING_OFFSET(mlring_argument, reserved, 112);

/*
 * Status of a completion: 0 or the negated number of an ml::Code, so that an
 * error keeps its code all the way. New ones are appended.
 */
#define MLRING_OK		0
#define MLRING_INVALID_ARGUMENT	(-1)	/* a descriptor, argument or graph that doesn't fit */
#define MLRING_OUT_OF_RANGE	(-2)	/* an index or size held by a tensor */
#define MLRING_UNSUPPORTED	(-3)	/* no backend row takes it */
#define MLRING_NOT_FOUND	(-4)	/* a handle, arena or queue that isn't, or no longer is */
#define MLRING_CORRUPT		(-5)	/* a graph's bytes break their format */
#define MLRING_IO		(-6)	/* the operating system refused */
#define MLRING_NO_SPACE		(-7)	/* a limit of the session or its user */
#define MLRING_OUT_OF_MEMORY	(-8)
#define MLRING_TOO_SMALL	(-9)	/* an output's capacity; see needed */
#define MLRING_CANCELLED	(-10)
#define MLRING_TIMEOUT		(-11)	/* the deadline passed before it ended */
#define MLRING_DEVICE_LOST	(-12)
#define MLRING_DENIED		(-13)
#define MLRING_AGAIN		(-14)	/* full for the moment */
#define MLRING_INTERNAL		(-15)	/* a defect of ours; the message helps */

/*
 * A completion. The message lies in the error area until the completion is
 * read (the consumer index has passed it): UTF-8 without a final zero, up to
 * three parts with MLRING_MESSAGE_PART between them: what was wrong, where, and
 * what to do. Length 0: none.
 */
#define MLRING_MESSAGE_PART	('\x1f')

struct mlring_completion {
	uint64_t user_data;		/* the descriptor's */
	int32_t status;			/* MLRING_OK, ... */
	uint32_t sequence;		/* the descriptor's, its low half */
	struct mlring_handle result;	/* of COMPILE and ALLOC */
	uint64_t bytes;			/* read and written, or see the opcode */
	uint64_t submitted;		/* CLOCK_MONOTONIC ns: taken from the ring */
	uint64_t started;		/* began to execute */
	uint64_t ended;
	uint32_t message_offset;	/* into the error area */
	uint32_t message_length;	/* at most MLRING_MESSAGE_MAX */
};

MLRING_SIZE(mlring_completion, 64);
MLRING_OFFSET(mlring_completion, user_data, 0);
MLRING_OFFSET(mlring_completion, status, 8);
MLRING_OFFSET(mlring_completion, sequence, 12);
MLRING_OFFSET(mlring_completion, result, 16);
MLRING_OFFSET(mlring_completion, bytes, 24);
MLRING_OFFSET(mlring_completion, submitted, 32);
MLRING_OFFSET(mlring_completion, started, 40);
MLRING_OFFSET(mlring_completion, ended, 48);
MLRING_OFFSET(mlring_completion, message_offset, 56);
MLRING_OFFSET(mlring_completion, message_length, 60);

/*
 * The head of the submission pages. What the worker polls, what it looks at
 * when credits run out and what it looks at after completing are apart, so
 * that none of the client's writes takes away a line that it polls.
 */
struct mlring_submission_header {
	uint32_t tail;			/* descriptors published */
	uint32_t pad0[31];
	uint32_t completion_head;	/* completions read */
	uint32_t pad1[31];
	uint32_t needs_wake;		/* 1: asleep, or about to be */
	uint32_t wake_at;		/* wake when completion_tail gets here */
	uint32_t pad2[30];
};

MLRING_SIZE(mlring_submission_header, 384);
MLRING_OFFSET(mlring_submission_header, tail, 0);
MLRING_OFFSET(mlring_submission_header, completion_head, 128);
MLRING_OFFSET(mlring_submission_header, needs_wake, 256);
MLRING_OFFSET(mlring_submission_header, wake_at, 260);

/* The head of the completion pages. */
struct mlring_completion_header {
	uint32_t completion_tail;	/* completions published */
	uint32_t pad0;
	uint64_t completed_sequence;	/* all descriptors below it are completed */
	uint32_t pad1[28];
	uint32_t parked;		/* odd: no longer polled, ring the doorbell */
	uint32_t fault;			/* MLRING_FAULT_*: the worker gave up on the queue */
	uint32_t pad2[30];
	uint32_t submission_head;	/* descriptors taken */
	uint32_t pad3;
	uint64_t busy;			/* ns spent executing for this queue */
	uint64_t running_since;		/* CLOCK_MONOTONIC ns; 0: nothing executes for it */
	uint32_t pad4[26];
};

MLRING_SIZE(mlring_completion_header, 384);
MLRING_OFFSET(mlring_completion_header, completion_tail, 0);
MLRING_OFFSET(mlring_completion_header, completed_sequence, 8);
MLRING_OFFSET(mlring_completion_header, parked, 128);
MLRING_OFFSET(mlring_completion_header, fault, 132);
MLRING_OFFSET(mlring_completion_header, submission_head, 256);
MLRING_OFFSET(mlring_completion_header, busy, 264);
MLRING_OFFSET(mlring_completion_header, running_since, 272);

/* The state page. */
#define MLRING_STATE_NONE	0u	/* not open yet */
#define MLRING_STATE_ACTIVE	1u
#define MLRING_STATE_FAULTED	2u	/* one side broke the rules */
#define MLRING_STATE_LOST	3u	/* the worker or its device died */
#define MLRING_STATE_CLOSED	4u

struct mlring_state {
	uint32_t state;			/* MLRING_STATE_*; leaves ACTIVE once */
	uint32_t generation;		/* of the device; a lost one counts up */
	uint32_t pad0[30];
	uint64_t notify_at;		/* lowest sequence waited for, or MLRING_NEVER */
	uint32_t pad1[30];
};

MLRING_SIZE(mlring_state, 256);
MLRING_OFFSET(mlring_state, state, 0);
MLRING_OFFSET(mlring_state, generation, 4);
MLRING_OFFSET(mlring_state, notify_at, 128);

/* Where everything is, for one depth: computed by each side, never shared. */
struct mlring_layout {
	uint32_t depth;
	uint32_t mask;
	uint64_t submission_offset;	/* of the three, in one file or region */
	uint64_t submission_bytes;
	uint64_t completion_offset;
	uint64_t completion_bytes;
	uint64_t state_offset;
	uint64_t state_bytes;
	uint64_t bytes;			/* all together */
	uint64_t descriptors;		/* from the submission pages' start */
	uint64_t completions;		/* from the completion pages' start */
	uint64_t errors;		/* from the completion pages' start */
};

#include "mlaccel_ring_check.h"

#endif
