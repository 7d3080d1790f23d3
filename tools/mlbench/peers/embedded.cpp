// mlbench-embedded: the engine in an application's own process, as anybody links it, timed on request. Its commands and
// answers are those of onnx_peer.py.
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "ml/model.h"
#include "ml/session.h"
#include "tools/mlbench/tensor_file.h"

namespace {

using namespace ml;
using bench::NamedArray;

std::uint64_t now() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(t.tv_nsec);
}

class Embedded {
 public:
  Embedded(const std::string& path, const std::string& inputs, int threads) : inputs_(bench::read_tensors(inputs)) {
    connect({.transport = "embedded", .threads = threads});
    model_.emplace(load_onnx(path));
  }

  void run_first() const {
    std::vector<Tensor> tensors;
    for (const NamedArray& input : inputs_) tensors.push_back(from_bytes(input.bytes, input.shape, input.dtype));
    const std::vector<Tensor> outputs = model_->run(tensors);
    eval(outputs);
  }

  std::string time(std::uint64_t count, std::uint64_t nanoseconds) {
    PreparedRun& run = prepared();
    std::string line;
    const std::uint64_t began = now();
    for (std::uint64_t i = 0, before = began; i < count && (i == 0 || before - began < nanoseconds); ++i) {
      run.run();
      const std::uint64_t after = now();
      line += (i == 0 ? "" : " ") + std::to_string(after - before);
      before = after;
    }
    return line;
  }

  void write_outputs(const std::string& path) {
    PreparedRun& run = prepared();
    run.run();
    std::vector<NamedArray> outputs;
    for (std::size_t i = 0; i < model_->outputs().size(); ++i) {
      const auto bytes = run.output(i);
      outputs.push_back(
          {model_->outputs()[i].name, model_->outputs()[i].dtype, run.output_shape(i), {bytes.begin(), bytes.end()}});
    }
    bench::write_tensors(path, outputs);
  }

 private:
  PreparedRun& prepared() {
    if (prepared_) return *prepared_;
    std::vector<Shape> shapes;
    for (const NamedArray& input : inputs_) shapes.push_back(input.shape);
    prepared_.emplace(model_->prepare(shapes));
    for (std::size_t i = 0; i < inputs_.size(); ++i) std::ranges::copy(inputs_[i].bytes, prepared_->input(i).begin());
    return *prepared_;
  }

  std::vector<NamedArray> inputs_;
  std::optional<Model> model_;
  std::optional<PreparedRun> prepared_;
};

int serve(const std::string& model, const std::string& inputs, int threads) {
  const std::uint64_t began = now();
  Embedded embedded(model, inputs, threads);
  embedded.run_first();
  std::printf("ready %.6f mlaccel\n", static_cast<double>(now() - began) / 1e9);
  std::fflush(stdout);
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string command, path;
    words >> command;
    if (command == "time") {
      std::uint64_t count = 0, nanoseconds = 0;
      words >> count >> nanoseconds;
      std::puts(embedded.time(count, nanoseconds).c_str());
    } else {
      words >> path;
      embedded.write_outputs(path);
      std::puts("written");
    }
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fputs("usage: mlbench-embedded MODEL.onnx INPUTS THREADS      (mlbench cpu starts it)\n", stderr);
    return 2;
  }
  try {
    return serve(argv[1], argv[2], std::stoi(argv[3]));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "mlbench-embedded: %s\n", error.what());
    return 1;
  }
}
