/*
 * The C door of the file formats in libmlengine.so; engine/runtime/embedded.h says how its functions answer.
 *
 * Graphs cross it in their FlatBuffers form, and the blobs that their constants refer to as runs of bytes in the order
 * of the graph's references.
 */
#ifndef ML_ENGINE_EMBEDDED_FORMATS_H
#define ML_ENGINE_EMBEDDED_FORMATS_H

#include "engine/runtime/embedded.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Receives bytes that are valid during the call only, unless said otherwise. Anything but 0 ends the whole. */
typedef int32_t (*mlengine_receive)(void* context, const void* data, uint64_t bytes);

struct mlengine_onnx_options {
  uint32_t size; /* sizeof(struct mlengine_onnx_options), set by the caller */
  uint32_t reserved;
  /*
   * Says where the bytes of a data file are, named by its path from the model's folder; they stay there until the
   * import has come back. Anything but 0 ends the whole. Null: a model with data in other files is refused.
   */
  int32_t (*open_file)(void* context, const char* location, struct mlengine_bytes* file);
};

/*
 * Reads the ONNX model in [file, file + bytes): calls `graph` once and then `blob` for each blob; those that lie in the
 * file, or in a data file, are handed over as the place where they lie. options may be null.
 */
MLENGINE_API int32_t mlengine_onnx_import(const void* file, uint64_t bytes, const struct mlengine_onnx_options* options,
                                          mlengine_receive graph, mlengine_receive blob, void* context);
/* Writes a graph as an ONNX model, piece by piece. */
MLENGINE_API int32_t mlengine_onnx_export(const void* graph, uint64_t graph_bytes, const struct mlengine_bytes* blobs,
                                          uint32_t blob_count, mlengine_receive write, void* context);

#ifdef __cplusplus
}
#endif

#endif
