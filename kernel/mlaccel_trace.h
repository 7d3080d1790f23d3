/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM mlaccel

#if !defined(MLACCEL_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define MLACCEL_TRACE_H

#include <linux/tracepoint.h>

#include "mlaccel.h"

/* Sequences from..to of a queue have been submitted, as its doorbell shows. */
TRACE_EVENT(mlaccel_submit,
	TP_PROTO(struct mlaccel_queue *q, u64 from),
	TP_ARGS(q, from),
	TP_STRUCT__entry(
		__string(device, q->dev->name)
		__field(u32, queue)
		__field(u64, client)
		__field(u64, from)
		__field(u64, to)
	),
	TP_fast_assign(
		mlaccel_assign_str(device, q->dev->name);
		__entry->queue = q->id;
		__entry->client = q->ctx->client->id;
		__entry->from = from;
		__entry->to = q->progress.submitted;
	),
	TP_printk("device=%s queue=%u client=%llu sequences=%llu..%llu",
		  __get_str(device), __entry->queue, __entry->client,
		  __entry->from, __entry->to)
);

TRACE_EVENT(mlaccel_doorbell,
	TP_PROTO(struct mlaccel_queue *q),
	TP_ARGS(q),
	TP_STRUCT__entry(
		__string(device, q->dev->name)
		__field(u32, queue)
		__field(bool, coalesced)
	),
	TP_fast_assign(
		mlaccel_assign_str(device, q->dev->name);
		__entry->queue = q->id;
		__entry->coalesced = q->event_bits & MLACCEL_EVENT_DOORBELL;
	),
	TP_printk("device=%s queue=%u coalesced=%d", __get_str(device),
		  __entry->queue, __entry->coalesced)
);

TRACE_EVENT(mlaccel_complete,
	TP_PROTO(struct mlaccel_queue *q, u32 flags, int error),
	TP_ARGS(q, flags, error),
	TP_STRUCT__entry(
		__string(device, q->dev->name)
		__field(u32, queue)
		__field(u64, completed)
		__field(u32, flags)
		__field(int, error)
	),
	TP_fast_assign(
		mlaccel_assign_str(device, q->dev->name);
		__entry->queue = q->id;
		__entry->completed = q->progress.completed;
		__entry->flags = flags;
		__entry->error = error;
	),
	TP_printk("device=%s queue=%u completed=%llu flags=%x error=%d",
		  __get_str(device), __entry->queue, __entry->completed,
		  __entry->flags, __entry->error)
);

TRACE_EVENT(mlaccel_queue_end,
	TP_PROTO(struct mlaccel_queue *q, int error),
	TP_ARGS(q, error),
	TP_STRUCT__entry(
		__string(device, q->dev->name)
		__field(u32, queue)
		__field(u64, completed)
		__field(int, error)
	),
	TP_fast_assign(
		mlaccel_assign_str(device, q->dev->name);
		__entry->queue = q->id;
		__entry->completed = q->progress.completed;
		__entry->error = error;
	),
	TP_printk("device=%s queue=%u completed=%llu error=%d",
		  __get_str(device), __entry->queue, __entry->completed,
		  __entry->error)
);

/* A fence expired, or the watchdog found work that hangs. */
TRACE_EVENT(mlaccel_timeout,
	TP_PROTO(struct mlaccel_queue *q, u64 sequence),
	TP_ARGS(q, sequence),
	TP_STRUCT__entry(
		__string(device, q->dev->name)
		__field(u32, queue)
		__field(u64, sequence)
		__field(u64, completed)
		__field(u64, running_since)
	),
	TP_fast_assign(
		mlaccel_assign_str(device, q->dev->name);
		__entry->queue = q->id;
		__entry->sequence = sequence;
		__entry->completed = q->progress.completed;
		__entry->running_since = q->progress.running_since;
	),
	TP_printk("device=%s queue=%u sequence=%llu completed=%llu running_since=%llu",
		  __get_str(device), __entry->queue, __entry->sequence,
		  __entry->completed, __entry->running_since)
);

/* The worker moved a piece of device memory to host memory. */
TRACE_EVENT(mlaccel_evict,
	TP_PROTO(struct mlaccel_memory *memory),
	TP_ARGS(memory),
	TP_STRUCT__entry(
		__string(device, memory->dev->name)
		__field(u32, bo)
		__field(u64, bytes)
		__field(u64, client)
	),
	TP_fast_assign(
		mlaccel_assign_str(device, memory->dev->name);
		__entry->bo = memory->id;
		__entry->bytes = memory->range.size;
		__entry->client = memory->ctx->client->id;
	),
	TP_printk("device=%s bo=%u bytes=%llu client=%llu", __get_str(device),
		  __entry->bo, __entry->bytes, __entry->client)
);

#endif

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE mlaccel_trace
#include <trace/define_trace.h>
