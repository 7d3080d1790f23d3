/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT */
/*
 * What every end of a ring does alike: check what the other side wrote, copy
 * it once, publish, sleep and wake. Included by mlaccel_ring.h; no state, no
 * allocation, no system call.
 */
#ifndef MLACCEL_RING_CHECK_H
#define MLACCEL_RING_CHECK_H

#ifndef MLACCEL_RING_H
#include "mlaccel_ring.h"
#endif

/* ---- indices ---- */

/*
 * An index of the other side only moves forward, from where it was seen last to
 * no farther than `limit`. Anything else ends the queue: (u32)(tail - head) <=
 * size follows, and so does that it never moves back.
 */
static inline bool mlring_index_ok(uint32_t seen, uint32_t now, uint32_t limit)
{
	return (uint32_t)(now - seen) <= (uint32_t)(limit - seen);
}

/* The same for the watermark, which the kernel relies on. */
static inline bool mlring_sequence_ok(uint64_t seen, uint64_t now,
				      uint64_t submitted)
{
	return seen <= now && now <= submitted;
}

/* The sequence at or above `from` whose low half is `low`. */
static inline uint64_t mlring_sequence_from(uint64_t from, uint32_t low)
{
	return from + (uint32_t)(low - (uint32_t)from);
}

/* ---- layout ---- */

static inline bool mlring_depth_ok(uint32_t depth)
{
	return depth >= MLRING_DEPTH_MIN && depth <= MLRING_DEPTH_MAX &&
	       (depth & (depth - 1)) == 0;
}

static inline uint64_t mlring_align(uint64_t bytes, uint64_t to)
{
	return (bytes + to - 1) & ~(to - 1);
}

/* False for a depth or page size that can't be. */
static inline bool mlring_compute_layout(struct mlring_layout *l,
					 uint32_t depth, uint32_t page)
{
	if (!mlring_depth_ok(depth) || page < 4096 || (page & (page - 1)) != 0)
		return false;
	l->depth = depth;
	l->mask = depth - 1;
	l->descriptors = sizeof(struct mlring_submission_header);
	l->completions = sizeof(struct mlring_completion_header);
	l->errors = l->completions +
		    (uint64_t)depth * sizeof(struct mlring_completion);
	l->submission_offset = 0;
	l->submission_bytes = l->descriptors + (uint64_t)depth *
						       sizeof(struct mlring_descriptor);
	l->submission_bytes = mlring_align(l->submission_bytes, page);
	l->completion_offset = l->submission_offset + l->submission_bytes;
	l->completion_bytes = mlring_align(l->errors + MLRING_ERROR_BYTES, page);
	l->state_offset = l->completion_offset + l->completion_bytes;
	l->state_bytes = page;
	l->bytes = l->state_offset + l->state_bytes;
	return true;
}

/* ---- copying ---- */

typedef uint64_t __attribute__((__may_alias__)) mlring_word;

/*
 * Copies what the other side may be rewriting: every word is read exactly once.
 * Bytes is a multiple of 8, both pointers are aligned to 8.
 */
static inline void mlring_copy_in(void *to, const void *from, size_t bytes)
{
	mlring_word *t = (mlring_word *)to;
	const mlring_word *f = (const mlring_word *)from;
	size_t i;

	for (i = 0; i < bytes / sizeof(*t); i++)
		t[i] = MLRING_LOAD(&f[i]);
}

/* Copies to where the other side may be reading. */
static inline void mlring_copy_out(void *to, const void *from, size_t bytes)
{
	mlring_word *t = (mlring_word *)to;
	const mlring_word *f = (const mlring_word *)from;
	size_t i;

	for (i = 0; i < bytes / sizeof(*t); i++)
		MLRING_STORE(&t[i], f[i]);
}

/* ---- publishing, sleeping, waking ---- */

/*
 * Both directions are alike. The sleeper says that it sleeps, fences, looks
 * once more and sleeps. The waker publishes, fences and looks whether somebody
 * sleeps. One of the two sees the other.
 */

/* The client says that it is about to sleep until completion_tail is `at`. */
static inline void mlring_client_arm(struct mlring_submission_header *s,
				     uint32_t at)
{
	MLRING_STORE(&s->wake_at, at);
	MLRING_STORE(&s->needs_wake, 1u);
	MLRING_FULL_FENCE();
}

static inline void mlring_client_disarm(struct mlring_submission_header *s)
{
	MLRING_STORE(&s->needs_wake, 0u);
}

/*
 * The worker, behind publishing completion_tail from `before` to `now` and a
 * full fence: does the client sleep for an index that was just passed? True
 * once for each that is armed.
 */
static inline bool
mlring_client_needs_wake(const struct mlring_submission_header *s,
			 uint32_t before, uint32_t now)
{
	uint32_t at;

	if (!MLRING_LOAD(&s->needs_wake))
		return false;
	at = MLRING_LOAD(&s->wake_at);
	return (uint32_t)(now - at) < (uint32_t)(now - before);
}

/*
 * The kernel, in the same place: does anybody wait for a sequence that was just
 * completed?
 */
static inline bool mlring_owner_needs_notice(const struct mlring_state *s,
					     uint64_t before, uint64_t now)
{
	uint64_t at = MLRING_LOAD(&s->notify_at);

	return before <= at && at < now;
}

/*
 * The worker stops or starts polling a ring. `parked` is its private count: odd
 * while parked. It must look at the submission tail once more after either.
 */
static inline void mlring_worker_turn(struct mlring_completion_header *c,
				      uint32_t *parked)
{
	*parked += 1;
	MLRING_STORE(&c->parked, *parked);
	MLRING_FULL_FENCE();
}

/*
 * The client, behind publishing its tail and a full fence: is the ring parked,
 * and this the first time that it is seen so? `rung` is private, 0 at first.
 */
static inline bool
mlring_doorbell_needed(const struct mlring_completion_header *c, uint32_t *rung)
{
	uint32_t parked = MLRING_LOAD(&c->parked);

	if ((parked & 1) == 0 || parked == *rung)
		return false;
	*rung = parked;
	return true;
}

/* ---- ranges and elements ---- */

static inline bool mlring_range_ok(uint64_t offset, uint64_t length,
				   uint64_t size)
{
	return !(length > size || offset > size - length);
}

/* Bits that one element takes in memory; 0 for a dtype that isn't one. */
static inline uint32_t mlring_dtype_bits(uint32_t dtype)
{
	switch (dtype) {
	case MLRING_F64:
	case MLRING_I64:
	case MLRING_U64:
		return 64;
	case MLRING_F32:
	case MLRING_I32:
	case MLRING_U32:
		return 32;
	case MLRING_F16:
	case MLRING_BF16:
	case MLRING_I16:
	case MLRING_U16:
		return 16;
	case MLRING_I8:
	case MLRING_U8:
	case MLRING_BOOL:
	case MLRING_F8E4M3FN:
	case MLRING_F8E4M3FNUZ:
	case MLRING_F8E5M2:
	case MLRING_F8E5M2FNUZ:
	case MLRING_F8E8M0:
	case MLRING_F4E2M1:
	case MLRING_I4:
	case MLRING_U4:
	case MLRING_I2:
	case MLRING_U2:
		return 8;
	default:
		return 0;
	}
}

/*
 * Bytes of a dense tensor. False when the dtype is unknown, the rank too high
 * or the count of bits overflows; a dim of 0 doesn't excuse the others.
 */
static inline bool mlring_tensor_bytes(uint32_t dtype, uint32_t rank,
				       const uint64_t *dims, uint64_t *bytes)
{
	uint64_t bits = mlring_dtype_bits(dtype);
	bool empty = false;
	uint32_t i;

	if (bits == 0 || rank > MLRING_RANK_MAX)
		return false;
	for (i = 0; i < rank; i++) {
		if (dims[i] == 0)
			empty = true;
		else if (__builtin_mul_overflow(bits, dims[i], &bits))
			return false;
	}
	if (bits > ~0ull - 7)
		return false;
	*bytes = empty ? 0 : (bits + 7) / 8;
	return true;
}

/* ---- descriptors and arguments ---- */

/* Why one was refused: 0 or one of these, each a fixed phrase. */
#define MLRING_REFUSED_OPCODE		1u
#define MLRING_REFUSED_FLAGS		2u
#define MLRING_REFUSED_RESERVED		3u
#define MLRING_REFUSED_HANDLE		4u
#define MLRING_REFUSED_OPERAND		5u
#define MLRING_REFUSED_COUNT		6u
#define MLRING_REFUSED_TABLE		7u
#define MLRING_REFUSED_DIRECTION	8u
#define MLRING_REFUSED_DTYPE		9u
#define MLRING_REFUSED_RANK		10u
#define MLRING_REFUSED_DIMS		11u
#define MLRING_REFUSED_PLACE		12u
#define MLRING_REFUSED_ALIGNMENT	13u
#define MLRING_REFUSED_CAPACITY		14u
#define MLRING_REFUSED_RANGE		15u
#define MLRING_REFUSED_COUNT_OF		16u	/* how many there are */

/* A private copy of a descriptor: may it be acted upon? */
static inline uint32_t
mlring_check_descriptor(const struct mlring_descriptor *d)
{
	bool handle = d->handle.generation != 0;
	bool handle_wanted = d->opcode == MLRING_OP_EXECUTE ||
			     d->opcode == MLRING_OP_FREE ||
			     d->opcode == MLRING_OP_WAIT;
	bool operand_wanted = d->opcode == MLRING_OP_ALLOC ||
			      d->opcode == MLRING_OP_WAIT ||
			      d->opcode == MLRING_OP_CANCEL;
	uint32_t at_least = 0, at_most = d->opcode == MLRING_OP_COPY ? 2 : 0;

	if (d->opcode >= MLRING_OP_COUNT)
		return MLRING_REFUSED_OPCODE;
	if ((d->flags & ~MLRING_FLAGS) != 0)
		return MLRING_REFUSED_FLAGS;
	if ((d->reserved[0] | d->reserved[1]) != 0)
		return MLRING_REFUSED_RESERVED;
	if (handle != handle_wanted || (!handle && d->handle.index != 0))
		return MLRING_REFUSED_HANDLE;
	if (!operand_wanted && d->operand != 0)
		return MLRING_REFUSED_OPERAND;
	if (d->opcode == MLRING_OP_COMPILE)
		at_least = 1;
	if (d->opcode == MLRING_OP_COMPILE || d->opcode == MLRING_OP_EXECUTE)
		at_most = MLRING_ARGUMENTS_MAX;
	if (d->opcode == MLRING_OP_COPY)
		at_least = 2;
	if (d->argument_count < at_least || d->argument_count > at_most)
		return MLRING_REFUSED_COUNT;
	if (!d->argument_count != !d->argument_arena)
		return MLRING_REFUSED_TABLE;
	if (d->argument_count == 0 && d->argument_offset != 0)
		return MLRING_REFUSED_TABLE;
	if (d->argument_offset % 8 != 0)
		return MLRING_REFUSED_TABLE;
	return 0;
}

/* Does a checked descriptor's table lie within its arena? */
static inline bool mlring_table_ok(const struct mlring_descriptor *d,
				   uint64_t arena_bytes)
{
	return mlring_range_ok(d->argument_offset,
			       (uint64_t)d->argument_count *
				       sizeof(struct mlring_argument),
			       arena_bytes);
}

/*
 * A private copy of an argument record: does it make sense by itself? What it
 * names is checked next, with mlring_range_ok(offset, capacity, size of that
 * arena or memory).
 */
static inline uint32_t mlring_check_argument(const struct mlring_argument *a)
{
	uint64_t bits = mlring_dtype_bits(a->dtype);
	uint64_t bytes;
	uint32_t i;

	if ((a->reserved[0] | a->reserved[1]) != 0)
		return MLRING_REFUSED_RESERVED;
	if (a->direction < MLRING_IN || a->direction > MLRING_INOUT)
		return MLRING_REFUSED_DIRECTION;
	if (bits == 0)
		return MLRING_REFUSED_DTYPE;
	if (!a->arena == !a->handle.generation ||
	    (a->arena != 0 && a->handle.index != 0))
		return MLRING_REFUSED_PLACE;
	if (a->offset % (bits < 8 ? 1 : bits / 8) != 0)
		return MLRING_REFUSED_ALIGNMENT;
	if (a->direction == MLRING_OUT)
		return 0;
	if (a->rank > MLRING_RANK_MAX)
		return MLRING_REFUSED_RANK;
	for (i = a->rank; i < MLRING_RANK_MAX; i++)
		if (a->dims[i] != 0)
			return MLRING_REFUSED_DIMS;
	if (!mlring_tensor_bytes(a->dtype, a->rank, a->dims, &bytes))
		return MLRING_REFUSED_DIMS;
	if (bytes > a->capacity)
		return MLRING_REFUSED_CAPACITY;
	return 0;
}

/*
 * Writes what an output really is back into the client's record: rank, dims
 * and needed. Dims from rank on become zero.
 */
static inline void mlring_answer_argument(struct mlring_argument *shared,
					  uint32_t rank, const uint64_t *dims,
					  uint64_t needed)
{
	uint32_t i;

	for (i = 0; i < MLRING_RANK_MAX; i++)
		MLRING_STORE(&shared->dims[i], i < rank ? dims[i] : 0);
	MLRING_STORE(&shared->rank, rank);
	MLRING_STORE(&shared->needed, needed);
}

/* ---- completions ---- */

/* A private copy of a completion: does its message lie in the error area? */
static inline bool mlring_message_ok(const struct mlring_completion *c)
{
	return c->message_length <= MLRING_MESSAGE_MAX &&
	       mlring_range_ok(c->message_offset, c->message_length,
			       MLRING_ERROR_BYTES);
}

/* ---- why a queue ended ---- */

#define MLRING_FAULT_NONE		0u
#define MLRING_FAULT_SUBMISSION_TAIL	1u	/* the client's */
#define MLRING_FAULT_COMPLETION_HEAD	2u
#define MLRING_FAULT_COMPLETION_TAIL	3u	/* the worker's */
#define MLRING_FAULT_SEQUENCE		4u
#define MLRING_FAULT_MESSAGE		5u
#define MLRING_FAULT_COUNT		6u	/* how many there are */

/* ---- names ---- */

static inline const char *mlring_opcode_name(uint32_t opcode)
{
	switch (opcode) {
	case MLRING_OP_NOP:		return "NOP";
	case MLRING_OP_COMPILE:		return "COMPILE";
	case MLRING_OP_EXECUTE:		return "EXECUTE";
	case MLRING_OP_COPY:		return "COPY";
	case MLRING_OP_ALLOC:		return "ALLOC";
	case MLRING_OP_FREE:		return "FREE";
	case MLRING_OP_WAIT:		return "WAIT";
	case MLRING_OP_CANCEL:		return "CANCEL";
	default:			return "unknown opcode";
	}
}

static inline const char *mlring_status_name(int32_t status)
{
	switch (status) {
	case MLRING_OK:			return "ok";
	case MLRING_INVALID_ARGUMENT:	return "invalid_argument";
	case MLRING_OUT_OF_RANGE:	return "out_of_range";
	case MLRING_UNSUPPORTED:	return "unsupported";
	case MLRING_NOT_FOUND:		return "not_found";
	case MLRING_CORRUPT:		return "corrupt";
	case MLRING_IO:			return "io";
	case MLRING_NO_SPACE:		return "no_space";
	case MLRING_OUT_OF_MEMORY:	return "out_of_memory";
	case MLRING_TOO_SMALL:		return "too_small";
	case MLRING_CANCELLED:		return "cancelled";
	case MLRING_TIMEOUT:		return "timeout";
	case MLRING_DEVICE_LOST:	return "device_lost";
	case MLRING_DENIED:		return "denied";
	case MLRING_AGAIN:		return "again";
	case MLRING_INTERNAL:		return "internal";
	default:			return "unknown status";
	}
}

static inline const char *mlring_refusal_text(uint32_t refusal)
{
	switch (refusal) {
	case 0:				return "accepted";
	case MLRING_REFUSED_OPCODE:	return "unknown opcode";
	case MLRING_REFUSED_FLAGS:	return "unknown flags";
	case MLRING_REFUSED_RESERVED:	return "reserved fields must be zero";
	case MLRING_REFUSED_HANDLE:	return "a handle is missing or not expected";
	case MLRING_REFUSED_OPERAND:	return "an operand is not expected";
	case MLRING_REFUSED_COUNT:	return "too few or too many arguments";
	case MLRING_REFUSED_TABLE:	return "the argument table is misplaced";
	case MLRING_REFUSED_DIRECTION:	return "unknown direction";
	case MLRING_REFUSED_DTYPE:	return "unknown dtype";
	case MLRING_REFUSED_RANK:	return "the rank is above 8";
	case MLRING_REFUSED_DIMS:	return "the dims are impossible";
	case MLRING_REFUSED_PLACE:	return "either an arena or a handle must be named";
	case MLRING_REFUSED_ALIGNMENT:	return "the offset is not a multiple of an element";
	case MLRING_REFUSED_CAPACITY:	return "the elements don't fit the capacity";
	case MLRING_REFUSED_RANGE:	return "outside of the arena or memory";
	default:			return "unknown refusal";
	}
}

static inline const char *mlring_fault_text(uint32_t fault)
{
	switch (fault) {
	case MLRING_FAULT_NONE:			return "no fault";
	case MLRING_FAULT_SUBMISSION_TAIL:	return "impossible submission tail";
	case MLRING_FAULT_COMPLETION_HEAD:	return "impossible completion head";
	case MLRING_FAULT_COMPLETION_TAIL:	return "impossible completion tail";
	case MLRING_FAULT_SEQUENCE:		return "impossible sequence";
	case MLRING_FAULT_MESSAGE:		return "a message outside of the error area";
	default:				return "unknown fault";
	}
}

#endif
