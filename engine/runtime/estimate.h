/*
 * What a program needs of a device, before it is loaded anywhere: a part of the C door of libmlengine.so (embedded.h
 * says what holds for all of its functions).
 */
#ifndef ML_ENGINE_ESTIMATE_H
#define ML_ENGINE_ESTIMATE_H

#include "engine/runtime/embedded.h"

#ifdef __cplusplus
extern "C" {
#endif

struct mlengine_estimate_info {
  uint32_t size; /* sizeof(struct mlengine_estimate_info), set by the caller */
  uint32_t reserved;
  uint64_t scratch_bytes;  /* for intermediate values, while it runs */
  uint64_t resident_bytes; /* constants, and what kernels packed of them, while it is loaded */
};

/*
 * Makes the plan of a graph (in its FlatBuffers form, beside its blobs) whose shapes are all known, on the device that
 * options (may be null) name, and forgets it.
 */
MLENGINE_API int32_t mlengine_estimate(const struct mlengine_worker_options* options, const void* graph,
                                       uint64_t graph_bytes, const struct mlengine_bytes* blobs, uint32_t blob_count,
                                       struct mlengine_estimate_info* info);

#ifdef __cplusplus
}
#endif

#endif
