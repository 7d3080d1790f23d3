// Runs ONNX models: what the Python scripts beside it drive.
//
//   onnx_suite nodes DEVICE RTOL FOLDER...      one line a test: "passed NAME", "refused NAME: why", "failed NAME: why"
//   onnx_suite run DEVICE MODEL OUT INPUT...    writes OUT/output_K.pb from TensorProto files, in the order of the
//                                               model's inputs
//   onnx_suite export MODEL FILE                imports and exports again
//   onnx_suite identity OUT FOLDER...           imports, exports at the model's own operator set to OUT/NAME.onnx,
//   imports
//                                               that: "same NAME", "differs NAME: where first", "refused NAME: why",
//                                               "failed NAME: why"
#include <algorithm>
#include <cstdio>
#include <exception>
#include <map>
#include <sstream>
#include <string_view>

#include "engine/formats/onnx/export.h"
#include "engine/formats/onnx/import.h"
#include "engine/formats/onnx/onnx.pb.h"
#include "engine/runtime/resources.h"
#include "libmlclient/files/model_folder.h"
#include "ml/error.h"
#include "tests/onnx/canonical.h"
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

Graph import_file(const fs::path& path, onnx::ImportOptions options = {}) {
  options.open = [folder = std::make_shared<files::ModelFolder>(path.string())](const std::string& location) {
    const std::shared_ptr<files::MappedFile> file = folder->map(location);
    return std::make_shared<const Blob>(file->bytes(), file, file->path());
  };
  return onnx::import_model(read_file(path), runtime::reference_evaluate(), options);
}

// One test: what its model declares and what its files hold.
class Test {
 public:
  Test(const fs::path& folder, double rtol) : folder_(folder), rtol_(rtol) {
    const auto blob = read_file(folder / "model.onnx");
    onnx::pb::Model model;
    if (!model.ParseFromArray(blob->bytes().data(), static_cast<int>(blob->bytes().size())))
      throw Error(Code::corrupt, "model.onnx is no model");
    inputs_ = read_set("input", model.graph().input());
    wanted_ = read_set("output", model.graph().output());
  }

  // Inputs that a graph cannot take as they are get the form that the files have. What decides the length of a sequence
  // has to be known while importing: where that is missing, whole numbers and truths become constants.
  Graph import() {
    onnx::ImportOptions options;
    for (const FileValue& input : inputs_) {
      const bool plain = input.present && !input.sequence;
      onnx::InputForm& form = options.forms[input.name];
      form.present = input.present;
      for (const HostTensor& tensor : input.tensors)
        form.shapes.push_back(plain ? unknown(tensor.shape.rank()) : tensor.shape);
    }
    try {
      return import_file(folder_ / "model.onnx", options);
    } catch (const Error& error) {
      if (error.code() != Code::unsupported || error.hint().find("give the value") == std::string::npos) throw;
    }
    for (const FileValue& input : inputs_) {
      if (!input.present || input.sequence || is_floating(input.tensors[0].dtype)) continue;
      const HostTensor& value = input.tensors[0];
      options.values[input.name] = make_constant(value.dtype, value.shape, value.bytes);
    }
    given_values_ = true;
    return import_file(folder_ / "model.onnx", options);
  }

  bool given_values() const { return given_values_; }

  std::vector<HostTensor> arguments(const Graph& graph) const {
    std::map<std::string, const HostTensor*> by_name;
    for (const FileValue& input : inputs_) {
      for (std::size_t k = 0; k < input.tensors.size(); ++k)
        by_name[input.sequence ? input.name + "." + std::to_string(k) : input.name] = &input.tensors[k];
    }
    std::vector<HostTensor> arguments;
    for (const GraphInput& input : graph.inputs()) {
      const auto found = by_name.find(input.name);
      if (found == by_name.end()) throw Error(Code::not_found, "no data for input '" + input.name + "'");
      arguments.push_back(*found->second);
    }
    return arguments;
  }

  // Empty when the outputs are what the files say.
  std::string judge(const Graph& graph, const std::vector<HostTensor>& got) const {
    std::map<std::string, const HostTensor*> left;
    for (std::size_t i = 0; i < got.size(); ++i) left[graph.outputs()[i].name] = &got[i];
    for (const FileValue& output : wanted_) {
      if (const auto flag = left.extract(output.name + ".present"); !flag.empty()) {
        if ((flag.mapped()->bytes[0] != std::byte{0}) != output.present)
          return "output '" + output.name + "' is " + (output.present ? "empty" : "not empty");
        if (!output.present) std::erase_if(left, [&](const auto& entry) { return belongs(entry.first, output.name); });
      }
      for (std::size_t k = 0; k < output.tensors.size(); ++k) {
        const auto tensor = left.extract(output.sequence ? output.name + "." + std::to_string(k) : output.name);
        if (tensor.empty()) return "output '" + output.name + "' has no tensor " + std::to_string(k);
        const std::string why = difference(*tensor.mapped(), output.tensors[k], rtol_, 1e-7);
        if (!why.empty()) return "output '" + tensor.key() + "': " + why;
      }
    }
    return left.empty() ? "" : "output '" + left.begin()->first + "' is too many";
  }

 private:
  static Shape unknown(int rank) {
    Shape shape;
    for (int i = 0; i < rank; ++i) shape.append(kUnknown);
    return shape;
  }
  static bool belongs(const std::string& name, const std::string& value) {
    return name == value || name.starts_with(value + ".");
  }

  // In the order of the declarations, or by name where the files say names.
  std::vector<FileValue> read_set(const char* kind, const auto& declared) const {
    std::vector<FileValue> values;
    for (int i = 0;; ++i) {
      const fs::path path = folder_ / "test_data_set_0" / (std::string(kind) + "_" + std::to_string(i) + ".pb");
      if (!fs::exists(path)) return values;
      if (i >= declared.size()) throw Error(Code::corrupt, path.string() + " is one file too many");
      FileValue value = read_value_file(path, declared[i].type());
      const auto named = std::ranges::find(declared, value.name, [](const auto& info) { return info.name(); });
      if (named == declared.end()) value.name = declared[i].name();
      values.push_back(std::move(value));
    }
  }

  fs::path folder_;
  double rtol_;
  bool given_values_ = false;
  std::vector<FileValue> inputs_, wanted_;
};

std::string run_node_test(const fs::path& folder, Device& device, double rtol) {
  const std::string name = folder.filename().string();
  try {
    Test test(folder, rtol);
    const Graph graph = test.import();
    const std::string why = test.judge(graph, evaluate(graph, device, test.arguments(graph)));
    if (!why.empty()) return "failed " + name + ": " + why;
    return "passed " + name + (test.given_values() ? ": the importer is given values that decide lengths" : "");
  } catch (const Error& error) {
    return (error.code() == Code::unsupported ? "refused " : "failed ") + name + ": " + error.what();
  }
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

std::vector<std::byte> exported(const Graph& graph, const onnx::ExportOptions& options = {}) {
  std::vector<std::byte> bytes;
  const auto append = [&](std::span<const std::byte> piece) { bytes.insert(bytes.end(), piece.begin(), piece.end()); };
  onnx::export_model(graph, append, options);
  return bytes;
}

int export_again(const fs::path& model, const fs::path& file) {
  write_file(file, exported(import_file(model)));
  return 0;
}

// The version of ONNX's own operators that a model declares.
int opset_of(const fs::path& file) {
  const auto blob = read_file(file);
  onnx::pb::Model model;
  if (!model.ParseFromArray(blob->bytes().data(), static_cast<int>(blob->bytes().size())))
    throw Error(Code::corrupt, file.string() + " is no model");
  for (const onnx::pb::OperatorSet& set : model.opset_import()) {
    if (set.domain().empty() || set.domain() == "ai.onnx") return static_cast<int>(set.version());
  }
  return onnx::kExportOpset;  // it has none of them
}

// The first line in which two texts differ.
std::string first_difference(const std::string& a, const std::string& b) {
  std::istringstream left(a), right(b);
  std::string x, y;
  do {
    if (!std::getline(left, x)) x.clear();
    if (!std::getline(right, y)) y.clear();
  } while (x == y);
  return x + " -> " + y;
}

std::string import_twice(const fs::path& folder, const fs::path& out) {
  const std::string name = folder.filename().string();
  bool is_written = false;
  try {
    const fs::path again = out / (name + ".onnx");
    const Graph graph = Test(folder, 0).import();
    write_file(again, exported(graph, {.opset = opset_of(folder / "model.onnx")}));
    is_written = true;
    const passes::Evaluate evaluate = runtime::reference_evaluate();
    const std::string before = canonical(graph, evaluate), after = canonical(import_file(again), evaluate);
    return before == after ? "same " + name : "differs " + name + ": " + first_difference(before, after);
  } catch (const Error& error) {
    return (error.code() == Code::unsupported && !is_written ? "refused " : "failed ") + name + ": " + error.what();
  }
}

int usage() {
  std::fputs(
      "usage: onnx_suite nodes DEVICE RTOL FOLDER... | run DEVICE MODEL OUT INPUT... | export MODEL FILE | "
      "identity OUT FOLDER...\n",
      stderr);
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  const std::span<char*> arguments(argv + 1, static_cast<std::size_t>(argc - 1));
  try {
    if (arguments.size() < 3) return usage();
    const std::string_view verb = arguments[0];
    if (verb == "export") return export_again(arguments[1], arguments[2]);
    if (verb == "identity") {
      for (const char* folder : arguments.subspan(2)) std::puts(import_twice(folder, arguments[1]).c_str());
      return 0;
    }
    const auto device = make_device(arguments[1]);
    if (verb == "run" && arguments.size() >= 4)
      return run_model(*device, arguments[2], arguments[3], arguments.subspan(4));
    if (verb != "nodes") return usage();
    const double rtol = std::stod(arguments[2]);
    for (const char* folder : arguments.subspan(3)) {
      std::puts(run_node_test(folder, *device, rtol).c_str());
      std::fflush(stdout);
    }
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "onnx_suite: %s\n", error.what());
    return 1;
  }
}
