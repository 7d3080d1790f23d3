#include "tests/install/onnx_round_trip.h"

#include <ml/ml.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <string>

namespace {

double difference(const std::string& directory) {
  ml::manual_seed(7);
  ml::nn::Sequential net(ml::nn::Linear(4, 3), ml::nn::ReLU(), ml::nn::Linear(3, 2));
  const ml::Model model = ml::Model::trace(net, {{"x", ml::DType::f32, {-1, 4}}});
  const std::string path = directory + "/model.onnx";
  ml::save_onnx(model, path);
  const ml::Tensor x = ml::arange(8, ml::DType::f32).reshape({2, 4});
  const ml::Tensor a = model.run({x})[0];
  const ml::Tensor b = ml::load_onnx(path).run({x})[0];
  return std::fabs((a - b).sum().item<double>());
}

}  // namespace

int onnx_round_trip() {
  std::string directory = (std::filesystem::temp_directory_path() / "onnx_round_trip.XXXXXX").string();
  if (mkdtemp(directory.data()) == nullptr) {
    std::perror("mkdtemp");
    return 1;
  }
  int result = 1;
  try {
    const double error = difference(directory);
    result = error == 0 ? 0 : 1;
    if (result != 0) std::fprintf(stderr, "the model read back answers differently, by %g\n", error);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
  }
  std::filesystem::remove_all(directory);
  return result;
}
