// run_model MODEL: what the model answers to inputs that are the same each time, bit by bit on stdout, and on stderr
// which transport was taken. run_model --publish NAME FILE: puts the file's model into the daemon's registry. MODEL is
// a file when there is a "/" in it, else a reference.
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "ml/ml.h"

namespace {

constexpr std::int64_t kBatch = 8;

void print(const ml::Tensor& tensor) {
  const std::vector<float> values = tensor.to_vector<float>();
  for (const float value : values) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, &value, sizeof bits);
    std::printf("%08x\n", bits);
  }
}

void run(const std::string& name) {
  const ml::Model model = name.starts_with('/') ? ml::Model::load(name) : ml::Model::open(name);
  ml::Generator generator(7);
  std::vector<ml::Tensor> inputs;
  for (const ml::ModelPort& port : model.inputs()) {
    ml::Shape shape;
    for (int axis = 0; axis < port.shape.rank(); ++axis) shape.append(port.shape[axis] < 0 ? kBatch : port.shape[axis]);
    inputs.push_back(ml::randn(shape, generator));
  }
  for (const ml::Tensor& output : model.run(inputs)) print(output);
  std::fprintf(stderr, "%s\n", ml::default_session().transport().c_str());
}

}  // namespace

int main(int count, char** arguments) {
  try {
    if (count == 4 && std::strcmp(arguments[1], "--publish") == 0)
      ml::Model::load(arguments[3]).publish(arguments[2], true);
    else if (count == 2)
      run(arguments[1]);
    else
      return std::fputs("usage: run_model MODEL | run_model --publish NAME FILE\n", stderr), 2;
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "run_model: %s\n", error.what());
    return 1;
  }
}
