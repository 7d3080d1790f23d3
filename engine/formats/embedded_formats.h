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

/* -1 for an extent that is not known. */
struct mlengine_shape {
  uint32_t rank; /* at most MLRING_RANK_MAX */
  uint32_t reserved;
  int64_t dims[MLRING_RANK_MAX];
};

/* What is known of a model's input that its file leaves open, or the value that makes it a constant. */
struct mlengine_onnx_input {
  const char* name;
  const struct mlengine_shape* shapes; /* of a tensor or its value: one; of a sequence: that of each element */
  uint32_t shape_count;
  uint32_t absent;      /* not 0: it is an optional that holds nothing */
  uint32_t value_dtype; /* MLRING_F32, ...; 0: there is no value */
  uint32_t reserved;
  struct mlengine_bytes value; /* dense row-major elements of the one shape */
};

/* An ONNX file that is looked at for its functions only. */
struct mlengine_onnx_library {
  const char* name; /* for messages */
  struct mlengine_bytes file;
};

struct mlengine_onnx_options {
  uint32_t size; /* sizeof(struct mlengine_onnx_options), set by the caller */
  uint32_t reserved;
  /*
   * Says where the bytes of a data file are, named by its path from the model's folder; they stay there until the
   * import has come back. Anything but 0 ends the whole. Null: a model with data in other files is refused.
   */
  int32_t (*open_file)(void* context, const char* location, struct mlengine_bytes* file);
  const struct mlengine_onnx_input* inputs;      /* each name once */
  const struct mlengine_onnx_library* libraries; /* say what nodes of other domains mean */
  uint32_t input_count;
  uint32_t library_count;
};

/*
 * Reads the ONNX model in [file, file + bytes): calls `graph` once and then `blob` for each blob; those that lie in the
 * file, in a data file, in a library or in a value are handed over as the place where they lie. options may be null.
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
