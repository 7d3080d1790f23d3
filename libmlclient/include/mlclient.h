/*
 * The C interface of libmlclient: tensors, and models that run through a worker.
 *
 * Functions answer 0 or a negated ml::Code (ML_ERROR_...); ml_last_error() then says what was wrong, where, and what to
 * do, for the calling thread. Objects are opaque; each is released once with its own function (null is ignored). They
 * may be used from any thread, one call at a time per object. The interface is stable: functions are added, never
 * changed.
 *
 *   ml_model *model;
 *   ml_tensor *image, *answer;
 *   float probabilities[10];
 *   int64_t shape[] = {1, 1, 28, 28};
 *   if (ml_model_load("fashion.mlmodel", &model) < 0) { fprintf(stderr, "%s\n", ml_last_error()); ... }
 *   ml_tensor_from_data(ML_F32, shape, 4, pixels, sizeof pixels, &image);
 *   ml_model_run(model, &image, 1, &answer, 1);
 *   ml_tensor_read(answer, probabilities, sizeof probabilities);
 */
#ifndef MLCLIENT_H
#define MLCLIENT_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define ML_C_API __attribute__((visibility("default")))
#else
#define ML_C_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Errors, as in ml/error.h. New ones are appended. */
enum ml_error {
  ML_OK = 0,
  ML_ERROR_INVALID_ARGUMENT = -1,
  ML_ERROR_OUT_OF_RANGE = -2,
  ML_ERROR_UNSUPPORTED = -3,
  ML_ERROR_NOT_FOUND = -4,
  ML_ERROR_CORRUPT = -5,
  ML_ERROR_IO = -6,
  ML_ERROR_NO_SPACE = -7,
  ML_ERROR_OUT_OF_MEMORY = -8,
  ML_ERROR_TOO_SMALL = -9,
  ML_ERROR_CANCELLED = -10,
  ML_ERROR_TIMEOUT = -11,
  ML_ERROR_DEVICE_LOST = -12,
  ML_ERROR_DENIED = -13,
  ML_ERROR_AGAIN = -14,
  ML_ERROR_INTERNAL = -15
};

/* Element types, as in ml/dtype.h. */
enum ml_dtype {
  ML_F64 = 1,
  ML_F32 = 2,
  ML_F16 = 3,
  ML_BF16 = 4,
  ML_I8 = 5,
  ML_I16 = 6,
  ML_I32 = 7,
  ML_I64 = 8,
  ML_U8 = 9,
  ML_U16 = 10,
  ML_U32 = 11,
  ML_U64 = 12,
  ML_BOOL = 13, /* one byte, 0 or 1 */
  /* Narrow dtypes: one byte an element, whatever its width; converted, not computed in. */
  ML_F8E4M3FN = 14,
  ML_F8E4M3FNUZ = 15,
  ML_F8E5M2 = 16,
  ML_F8E5M2FNUZ = 17,
  ML_F8E8M0 = 18,
  ML_F4E2M1 = 19,
  ML_I4 = 20,
  ML_U4 = 21,
  ML_I2 = 22,
  ML_U2 = 23
};

#define ML_MAX_RANK 8

typedef struct ml_tensor ml_tensor;
typedef struct ml_model ml_model;

/* What the last failed call on this thread said, "" before the first. Valid until this thread's next call. */
ML_C_API const char* ml_last_error(void);
/* "0.1.0" */
ML_C_API const char* ml_version(void);

/*
 * Opens the session that this process uses. transport: "embedded", "unix:PATH" (a daemon's socket), or null for
 * $MLACCEL or what is found; device: "cpu", "reference", a daemon's device, or null for the default; threads: 0 for the
 * default. Not needed: the first call that needs a session opens it.
 */
ML_C_API int32_t ml_connect(const char* transport, const char* device, int32_t threads);

/*
 * Copies `bytes` bytes of dense row-major elements, which must be what dtype and shape say. shape may be null for rank
 * 0. The caller owns *tensor.
 */
ML_C_API int32_t ml_tensor_from_data(int32_t dtype, const int64_t* shape, int32_t rank, const void* data, size_t bytes,
                                     ml_tensor** tensor);
ML_C_API void ml_tensor_free(ml_tensor* tensor);
ML_C_API int32_t ml_tensor_dtype(const ml_tensor* tensor); /* ML_F32, ... or an error */
ML_C_API int32_t ml_tensor_rank(const ml_tensor* tensor);
/* Writes the rank's extents to shape[ML_MAX_RANK]. */
ML_C_API int32_t ml_tensor_shape(const ml_tensor* tensor, int64_t* shape);
/* Bytes of the elements, or a negative error. */
ML_C_API int64_t ml_tensor_bytes(const ml_tensor* tensor);
/* Waits for the tensor and copies its elements; `bytes` must be ml_tensor_bytes(). */
ML_C_API int32_t ml_tensor_read(const ml_tensor* tensor, void* data, size_t bytes);

/* A .mlmodel file, or an ONNX file when the path ends in ".onnx". */
ML_C_API int32_t ml_model_load(const char* path, ml_model** model);
/*
 * A model of the daemon's registry: "name", "name:version", "name@alias", "owner/name". Needs a session with a daemon
 * (ML_ERROR_UNSUPPORTED otherwise).
 */
ML_C_API int32_t ml_model_open(const char* reference, ml_model** model);
/* Registers it there as the next version of `name`, if `shared` for everybody. *version may be null. */
ML_C_API int32_t ml_model_publish(const ml_model* model, const char* name, int32_t shared, uint64_t* version);
ML_C_API void ml_model_free(ml_model* model);
ML_C_API int32_t ml_model_input_count(const ml_model* model);
ML_C_API int32_t ml_model_output_count(const ml_model* model);
/* Null when there is no such input or output. Valid as long as the model. */
ML_C_API const char* ml_model_input_name(const ml_model* model, int32_t index);
ML_C_API const char* ml_model_output_name(const ml_model* model, int32_t index);
/* dtype, rank and shape[ML_MAX_RANK] of an input; extents that are only known when the model runs are -1. */
ML_C_API int32_t ml_model_input_type(const ml_model* model, int32_t index, int32_t* dtype, int32_t* rank,
                                     int64_t* shape);
/*
 * Runs it on `input_count` tensors in the order of the inputs. Writes `output_count` tensors, which must be all of them
 * and which the caller owns, to outputs; on an error none is written.
 */
ML_C_API int32_t ml_model_run(ml_model* model, ml_tensor* const* inputs, int32_t input_count, ml_tensor** outputs,
                              int32_t output_count);

#ifdef __cplusplus
}
#endif

#endif
