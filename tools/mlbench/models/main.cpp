// mlbench-models: writes the models of `mlbench cpu` and inputs for them, and says what work they are and where its
// time goes. mlbench starts it. Exit codes: 0 done, 1 failed, 2 usage.
#include <cmath>
#include <cstdio>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "engine/formats/onnx/export.h"
#include "ml/error.h"
#include "tools/mlbench/models/binding.h"
#include "tools/mlbench/models/models.h"
#include "tools/mlbench/models/profile.h"

namespace {

using namespace ml;
using namespace ml::bench;

void write_model(const std::string& name, const std::string& path) {
  std::ofstream file(path, std::ios::binary);
  onnx::export_model(find_model(name).build(), [&file](std::span<const std::byte> piece) {
    file.write(reinterpret_cast<const char*>(piece.data()), static_cast<std::streamsize>(piece.size()));
  });
  file.flush();
  if (!file) throw Error(Code::io, "cannot be written", path);
}

template <class T>
void fill(std::vector<std::byte>& bytes, const InputRange& range, std::mt19937_64& random) {
  const auto draw = [&] { return range.low + (range.high - range.low) * 0x1p-64 * static_cast<double>(random()); };
  for (std::size_t at = 0; at < bytes.size(); at += sizeof(T)) {
    const T value = static_cast<T>(std::is_integral_v<T> ? std::floor(draw()) : draw());
    std::copy_n(reinterpret_cast<const std::byte*>(&value), sizeof(T), &bytes[at]);
  }
}

void write_inputs(const std::string& name, std::int64_t batch, const std::string& path) {
  const Model& model = find_model(name);
  const Graph graph = model.build();
  std::mt19937_64 random(static_cast<std::uint64_t>(batch));
  std::vector<NamedArray> inputs;
  for (const GraphInput& input : graph.inputs()) {
    NamedArray array{input.name, graph.type(input.value).dtype, graph.type(input.value).shape, {}};
    for (int axis = 0; axis < array.shape.rank(); ++axis) {
      if (array.shape[axis] == kUnknown) array.shape[axis] = batch;
    }
    array.bytes.resize(static_cast<std::size_t>(array.shape.elements()) * dtype_size(array.dtype));
    InputRange range;
    for (const InputRange& candidate : model.inputs) {
      if (input.name.starts_with(candidate.prefix)) range = candidate;
    }
    array.dtype == DType::i64 ? fill<std::int64_t>(array.bytes, range, random)
                              : fill<float>(array.bytes, range, random);
    inputs.push_back(std::move(array));
  }
  write_tensors(path, inputs);
}

int usage() {
  std::fputs(
      "usage: mlbench-models list\n"
      "       mlbench-models write MODEL FILE.onnx\n"
      "       mlbench-models inputs MODEL BATCH FILE\n"
      "       mlbench-models work FILE.onnx INPUTS                     FLOPs, bytes moved, bytes of weights\n"
      "       mlbench-models profile FILE.onnx INPUTS THREADS SECONDS\n"
      "       mlbench-models bindable\n"
      "       mlbench-models bind MODEL THREADS ROUNDS     nodes, ms of the first and of others, bytes packed by the "
      "first "
      "and by others, arena, its bound\n"
      "       mlbench-models decode THREADS TOKENS         ms a token: growing, binding in it, fixed; difference\n",
      stderr);
  return 2;
}

int run(const std::vector<std::string>& args) {
  if (args == std::vector<std::string>{"list"}) {
    for (const Model& model : models())
      std::printf("%s\t%s\n", std::string(model.name).c_str(), std::string(model.summary).c_str());
  } else if (args.size() == 3 && args[0] == "write") {
    write_model(args[1], args[2]);
  } else if (args.size() == 4 && args[0] == "inputs") {
    write_inputs(args[1], std::stoll(args[2]), args[3]);
  } else if (args.size() == 3 && args[0] == "work") {
    const Work work = work_of(bound_model(args[1], read_tensors(args[2])));
    std::printf("%.0f %.0f %.0f\n", work.flops, work.bytes, work.weights);
  } else if (args.size() == 5 && args[0] == "profile") {
    const std::vector<NamedArray> inputs = read_tensors(args[2]);
    std::fputs(profile(bound_model(args[1], inputs), inputs, std::stoi(args[3]), std::stod(args[4])).c_str(), stdout);
  } else if (args == std::vector<std::string>{"bindable"}) {
    for (const std::string_view name : bindable_models()) std::printf("%s\n", std::string(name).c_str());
  } else if (args.size() == 4 && args[0] == "bind") {
    const BindingCost cost = binding_cost(args[1], std::stoi(args[2]), std::stoi(args[3]));
    std::printf("%zu %.6f %.6f %zu %zu %zu %zu\n", cost.nodes, cost.first_ms, cost.ms, cost.packed, cost.more,
                cost.arena, cost.bound);
  } else if (args.size() == 3 && args[0] == "decode") {
    const DecodingCost cost = decoding_cost(std::stoi(args[1]), std::stoi(args[2]));
    std::printf("%.6f %.6f %.6f %.9f\n", cost.growing_ms, cost.growing_bind_ms, cost.fixed_ms, cost.apart);
  } else {
    return usage();
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    std::fprintf(stderr, "mlbench-models: %s\n", error.what());
    return 1;
  }
}
