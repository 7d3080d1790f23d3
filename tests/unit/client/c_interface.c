/* A C program's use of libmlclient; model_test.cpp calls it on a model that computes 2 x + 1 of f32[?, 3]. */
#include <stdio.h>
#include <string.h>

#include "mlclient.h"

#define CHECK(holds)                                                                                                  \
  do {                                                                                                                \
    if (!(holds)) {                                                                                                   \
      snprintf(problem, problem_size, "line %d: %s: %s", __LINE__, #holds, ml_last_error());                          \
      return 1;                                                                                                       \
    }                                                                                                                 \
  } while (0)

int use_the_c_interface(const char *model_path, char *problem, size_t problem_size) {
  const int64_t shape[] = {2, 3};
  const float data[] = {1, 2, 3, 4, 5, 6};
  int64_t extents[ML_MAX_RANK];
  float answer[6];
  int32_t dtype, rank;
  ml_tensor *x = NULL, *y = NULL;
  ml_model *model = NULL;

  CHECK(strlen(ml_version()) > 0);
  CHECK(ml_connect(NULL, NULL, 0) == ML_OK);
  CHECK(ml_connect("unix:/nowhere", NULL, 0) == ML_ERROR_INVALID_ARGUMENT); /* a session is open already */

  CHECK(ml_tensor_from_data(ML_F32, shape, 2, data, sizeof data, &x) == ML_OK);
  CHECK(ml_tensor_dtype(x) == ML_F32 && ml_tensor_rank(x) == 2 && ml_tensor_bytes(x) == sizeof data);
  CHECK(ml_tensor_shape(x, extents) == ML_OK && extents[0] == 2 && extents[1] == 3);
  CHECK(ml_tensor_from_data(ML_F32, shape, 2, data, 8, &y) == ML_ERROR_INVALID_ARGUMENT && y == NULL);
  CHECK(strstr(ml_last_error(), "f32[2, 3] has 6 elements, the data 2") != NULL);
  CHECK(ml_tensor_from_data(99, shape, 2, data, sizeof data, &y) == ML_ERROR_INVALID_ARGUMENT);
  CHECK(ml_tensor_from_data(ML_F32, shape, 9, data, sizeof data, &y) == ML_ERROR_INVALID_ARGUMENT);
  CHECK(ml_tensor_read(x, answer, 4) == ML_ERROR_INVALID_ARGUMENT);

  CHECK(ml_model_load("/nowhere/model", &model) == ML_ERROR_NOT_FOUND && model == NULL);
  CHECK(ml_model_load(model_path, &model) == ML_OK);
  CHECK(ml_model_input_count(model) == 1 && ml_model_output_count(model) == 1);
  CHECK(strcmp(ml_model_input_name(model, 0), "x") == 0 && ml_model_input_name(model, 1) == NULL);
  CHECK(strcmp(ml_model_output_name(model, 0), "output") == 0);
  CHECK(ml_model_input_type(model, 0, &dtype, &rank, extents) == ML_OK);
  CHECK(dtype == ML_F32 && rank == 2 && extents[0] == -1 && extents[1] == 3);
  CHECK(ml_model_run(model, &x, 1, &y, 2) == ML_ERROR_INVALID_ARGUMENT);
  CHECK(ml_model_run(model, &x, 1, &y, 1) == ML_OK);
  CHECK(ml_tensor_read(y, answer, sizeof answer) == ML_OK);
  CHECK(answer[0] == 3 && answer[5] == 13);
  CHECK(ml_tensor_read(NULL, answer, sizeof answer) == ML_ERROR_INVALID_ARGUMENT);

  ml_tensor_free(x);
  ml_tensor_free(y);
  ml_tensor_free(NULL);
  ml_model_free(model);
  return 0;
}
