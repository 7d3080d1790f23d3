/*
 * The C door of libmlengine.so: a worker on threads of this process, and the queues, arenas and handles that a client
 * reaches it by. libmlclient finds it with dlopen(RTLD_LOCAL); nothing but plain C crosses it.
 *
 * worker   a device, its ring thread, executors and compile thread.
 * session  one client of a worker: queues, arenas and handles that no other session can name. Handles (programs,
 *          memory, queues) are valid on all queues of their session.
 * queue    the pages of kernel/uapi/mlaccel_ring.h in a sealed memfd, and two eventfds.
 * arena    memory of the client that descriptors name by number.
 * file     an arena that may only be read, and that programs go on using.
 *
 * Functions answer 0 or a negated ml::Code; mlengine_error() then says why, for the calling thread. They may be called
 * from any thread. A struct begins with its size, set by the caller: a smaller one of an older caller is accepted, the
 * fields it lacks are zero, and of an answer only the fields it has are written.
 */
#ifndef ML_ENGINE_EMBEDDED_H
#define ML_ENGINE_EMBEDDED_H

#include <stdint.h>

#include "kernel/uapi/mlaccel_ring.h"

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define MLENGINE_API __attribute__((visibility("default")))
#else
#define MLENGINE_API
#endif

/* Counts up when a function or the meaning of a field changes. */
#define MLENGINE_VERSION 2u

struct mlengine_worker;
struct mlengine_session;
struct mlengine_queue;

struct mlengine_bytes {
  const void* data;
  uint64_t bytes;
};

/* Zero in any field but size means the default. */
struct mlengine_worker_options {
  uint32_t size;      /* sizeof(struct mlengine_worker_options) */
  uint32_t threads;   /* that one kernel may use; default: the CPUs this process may run on */
  const char* device; /* "cpu" (default) or "reference" */
  uint32_t executors; /* plans that run side by side; default 1 */
  uint32_t spin_us;   /* how long an idle executor polls before it sleeps; default 50, none with fewer than 4 CPUs */
  uint32_t park_us;   /* how long an idle ring is polled before it is parked; default 1000, none with fewer than 4 */
  uint32_t reserved;
};

/* What one session may hold. Zero means the default. */
struct mlengine_session_options {
  uint32_t size;    /* sizeof(struct mlengine_session_options) */
  uint32_t queues;  /* default 64 */
  uint32_t arenas;  /* default 4096 */
  uint32_t handles; /* memory, programs and queues together; default 65536 */
  uint32_t plans;   /* of one program, one for each combination of shapes; default 16, the least used goes */
  uint32_t reserved;
  uint64_t device_bytes;  /* behind handles; default: no limit but the machine's */
  uint64_t graph_bytes;   /* of one COMPILE, blobs not counted; default 256 MiB */
  uint64_t scratch_bytes; /* of one plan; default: the physical memory of the machine */
};

/* A new queue. The fds stay the engine's and open until the queue is destroyed. */
struct mlengine_queue_info {
  uint32_t size;               /* sizeof(struct mlengine_queue_info), set by the caller */
  uint32_t depth;              /* of both rings */
  int32_t memory_fd;           /* the pages: mlring_compute_layout(depth, page size) says where they lie */
  int32_t doorbell_fd;         /* the client writes it when the ring is parked */
  int32_t wake_fd;             /* the client sleeps on it */
  struct mlring_handle handle; /* what WAIT names this queue by */
  uint32_t reserved;
};

/* MLENGINE_VERSION of the library: compare it before calling anything else. */
MLENGINE_API uint32_t mlengine_version(void);

/*
 * What went wrong in the last call on this thread: what happened, then on lines of their own where and what to do, as
 * in a completion's message. Valid until this thread's next call.
 */
MLENGINE_API const char* mlengine_error(void);

/* Starts the threads of a worker. options may be null. */
MLENGINE_API int32_t mlengine_worker_create(const struct mlengine_worker_options* options,
                                            struct mlengine_worker** worker);
/*
 * What decides the bits of a result besides the program and its inputs: device, instructions, library versions,
 * threads. The same text, the same bits. Valid as long as the worker.
 */
MLENGINE_API const char* mlengine_worker_fingerprint(const struct mlengine_worker* worker);
/*
 * Ends every session that is left, then the threads. Executions under way are stopped between two kernels; their queues
 * go to MLRING_STATE_LOST.
 */
MLENGINE_API void mlengine_worker_destroy(struct mlengine_worker* worker);

/* options may be null. */
MLENGINE_API int32_t mlengine_session_create(struct mlengine_worker* worker,
                                             const struct mlengine_session_options* options,
                                             struct mlengine_session** session);
/* Destroys its queues, frees its handles and forgets its arenas; comes back when nothing uses them any more. */
MLENGINE_API void mlengine_session_destroy(struct mlengine_session* session);

/* depth: a power of two, MLRING_DEPTH_MIN to MLRING_DEPTH_MAX; 0 for the default of 256. info may not be null. */
MLENGINE_API int32_t mlengine_queue_create(struct mlengine_session* session, uint32_t depth,
                                           struct mlengine_queue** queue, struct mlengine_queue_info* info);
/*
 * The queue's state becomes MLRING_STATE_CLOSED, what it has not begun is dropped and what runs is stopped; comes back
 * when nothing of it runs any more. Memory and programs that it made stay with the session.
 */
MLENGINE_API void mlengine_queue_destroy(struct mlengine_queue* queue);

/*
 * Lets descriptors of the session name [base, base + bytes) as arena *arena. base is a multiple of 64; the memory must
 * stay mapped, readable and writable, until the arena is removed.
 */
MLENGINE_API int32_t mlengine_arena_add(struct mlengine_session* session, void* base, uint64_t bytes, uint32_t* arena);
/*
 * The same for a file that is mapped privately at base, the beginning of a page, and that nothing writes to:
 * descriptors may only read it. What COMPILE takes from it is not copied, and its pages are let go of (MADV_DONTNEED)
 * once they have been read. It stays mapped, and the file as it is, until release(context) is called: once, from any
 * thread, when the arena has been removed and the last program made of it is gone; also when this fails.
 */
MLENGINE_API int32_t mlengine_file_add(struct mlengine_session* session, const void* base, uint64_t bytes,
                                       void (*release)(void* context), void* context, uint32_t* arena);
/* New descriptors can't name it; comes back when no earlier one uses it any more, and the memory may be unmapped. */
MLENGINE_API int32_t mlengine_arena_remove(struct mlengine_session* session, uint32_t arena);

#ifdef __cplusplus
}
#endif

#endif
