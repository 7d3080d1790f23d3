/* The C interface of the installed copy: a tensor in and out, and a refusal that says why. */
#include <mlclient.h>
#include <stdio.h>
#include <string.h>

int main(void) {
  const float data[6] = {1, 2, 3, 4, 5, 6};
  const int64_t shape[2] = {2, 3};
  float back[6] = {0};
  ml_tensor* tensor = NULL;
  ml_model* model = NULL;

  if (ml_tensor_from_data(ML_F32, shape, 2, data, sizeof data, &tensor) < 0 ||
      ml_tensor_read(tensor, back, sizeof back) < 0) {
    fprintf(stderr, "%s\n", ml_last_error());
    return 1;
  }
  ml_tensor_free(tensor);
  if (memcmp(data, back, sizeof data) != 0) {
    fputs("a tensor came back changed\n", stderr);
    return 1;
  }
  if (ml_model_load("no-such-file.mlmodel", &model) != ML_ERROR_NOT_FOUND || strlen(ml_last_error()) == 0) {
    fputs("a missing model was not refused as not found\n", stderr);
    return 1;
  }
  printf("mlaccel %s: %s\n", ml_version(), ml_last_error());
  return 0;
}
