// Runs ONNX models: what the Python scripts beside it drive.
//
//   onnx_suite nodes DEVICE FOLDER...          one line a test: "passed NAME", "refused NAME: why", "failed NAME: why"
//   onnx_suite run DEVICE MODEL OUT INPUT...   writes OUT/output_K.pb from TensorProto files, in the order of the
//   model's inputs onnx_suite export MODEL FILE               imports and exports again
#include <cstdio>
#include <exception>
#include <map>
#include <string_view>

#include "engine/formats/onnx/export.h"
#include "engine/formats/onnx/import.h"
#include "engine/runtime/resources.h"
#include "ml/error.h"
#include "tests/onnx/data.h"

namespace {

namespace fs = std::filesystem;
using namespace ml;
using namespace ml::onnx_test;

std::unique_ptr<Device> make_device(std::string_view name) {
  if (name == "reference") return create_reference_device();
  if (name == "cpu") return create_cpu_device(2);
  throw Error(Code::invalid_argument, "device '" + std::string(name) + "' is neither reference nor cpu");
}

Graph import_file(const fs::path& path) { return onnx::import_model(read_file(path), runtime::reference_evaluate()); }

std::vector<NamedTensor> read_set(const fs::path& folder, const char* kind) {
  std::vector<NamedTensor> tensors;
  for (int i = 0;; ++i) {
    const fs::path path = folder / (std::string(kind) + "_" + std::to_string(i) + ".pb");
    if (!fs::exists(path)) return tensors;
    tensors.push_back(read_tensor_file(path));
  }
}

// Inputs by name where the files say names, by position otherwise.
std::vector<HostTensor> arrange(const Graph& graph, const std::vector<NamedTensor>& given) {
  std::map<std::string, const HostTensor*> by_name;
  for (const NamedTensor& tensor : given) by_name[tensor.name] = &tensor.tensor;
  std::vector<HostTensor> inputs;
  for (std::size_t i = 0; i < graph.inputs().size(); ++i) {
    const auto found = by_name.find(graph.inputs()[i].name);
    if (found == by_name.end() && i >= given.size())
      throw Error(Code::not_found, "no data for input '" + graph.inputs()[i].name + "'");
    inputs.push_back(found != by_name.end() ? *found->second : given[i].tensor);
  }
  return inputs;
}

std::string run_node_test(const fs::path& folder, Device& device) {
  const std::string name = folder.filename().string();
  Graph graph;
  std::vector<NamedTensor> inputs, wanted;
  try {
    graph = import_file(folder / "model.onnx");
    inputs = read_set(folder / "test_data_set_0", "input");
    wanted = read_set(folder / "test_data_set_0", "output");
  } catch (const Error& error) {
    if (error.code() == Code::unsupported) return "refused " + name + ": " + error.what();
    return "failed " + name + ": import: " + error.what();
  }
  try {
    const std::vector<HostTensor> got = evaluate(graph, device, arrange(graph, inputs));
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      const std::string why = difference(got.at(i), wanted[i].tensor, 1e-3, 1e-7);
      if (!why.empty()) return "failed " + name + ": output " + std::to_string(i) + ": " + why;
    }
  } catch (const Error& error) {
    return (error.code() == Code::unsupported ? "refused " : "failed ") + name + ": " + error.what();
  }
  return "passed " + name;
}

int run_model(Device& device, const fs::path& model, const fs::path& out, std::span<char*> files) {
  const Graph graph = import_file(model);
  std::vector<HostTensor> inputs;
  for (const char* file : files) inputs.push_back(read_tensor_file(file).tensor);
  const std::vector<HostTensor> outputs = evaluate(graph, device, inputs);
  for (std::size_t i = 0; i < outputs.size(); ++i)
    write_tensor_file(out / ("output_" + std::to_string(i) + ".pb"), outputs[i]);
  return 0;
}

int export_again(const fs::path& model, const fs::path& file) {
  std::vector<std::byte> bytes;
  onnx::export_model(import_file(model),
                     [&](std::span<const std::byte> piece) { bytes.insert(bytes.end(), piece.begin(), piece.end()); });
  write_file(file, bytes);
  return 0;
}

int usage() {
  std::fputs("usage: onnx_suite nodes DEVICE FOLDER... | run DEVICE MODEL OUT INPUT... | export MODEL FILE\n", stderr);
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  const std::span<char*> arguments(argv + 1, static_cast<std::size_t>(argc - 1));
  try {
    if (arguments.size() < 3) return usage();
    const std::string_view verb = arguments[0];
    if (verb == "export") return export_again(arguments[1], arguments[2]);
    const auto device = make_device(arguments[1]);
    if (verb == "run" && arguments.size() >= 4)
      return run_model(*device, arguments[2], arguments[3], arguments.subspan(4));
    if (verb != "nodes") return usage();
    for (const char* folder : arguments.subspan(2)) std::puts(run_node_test(folder, *device).c_str());
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "onnx_suite: %s\n", error.what());
    return 1;
  }
}
