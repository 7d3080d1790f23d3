#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <numeric>

#include "ml/data.h"
#include "ml/model.h"
#include "tools/mlctl/commands/commands.h"
#include "tools/mlctl/commands/input_file.h"
#include "tools/mlctl/commands/session.h"
#include "tools/mlctl/failure.h"
#include "tools/mlctl/output/human.h"
#include "tools/mlctl/output/local_things.h"
#include "tools/mlctl/table/invocation.h"

namespace ml::ctl {
namespace {

// "image f32[?, 1, 28, 28], mask ..."
std::string ports_text(const std::vector<ModelPort>& ports) {
  std::string out;
  for (const ModelPort& port : ports)
    out += (out.empty() ? "" : ", ") + port.name + ' ' + std::string(dtype_name(port.dtype)) + port.shape.str();
  return out;
}

std::vector<Tensor> read_inputs(const Invocation& invocation, const Model& model) {
  const std::vector<ModelPort>& ports = model.inputs();
  const Scaling scaling{invocation.number("--mean"), invocation.number("--deviation")};
  std::vector<Tensor> tensors(ports.size());
  for (const std::string& text : invocation.texts("--input")) {
    const InputArgument argument = parse_input(text);
    const auto port = std::find_if(ports.begin(), ports.end(), [&](const ModelPort& candidate) {
      return candidate.name == argument.name || (argument.name.empty() && ports.size() == 1);
    });
    if (port == ports.end()) {
      throw Failure(Exit::usage,
                    argument.name.empty() ? "--input '" + text + "' does not say for which input"
                                          : "the model has no input '" + argument.name + "'",
                    "its inputs are: " + ports_text(ports), "MLE-0001");
    }
    Tensor& tensor = tensors[static_cast<std::size_t>(port - ports.begin())];
    if (tensor.defined())
      throw Failure(Exit::usage, "input '" + port->name + "' is given twice", "give each input once", "MLE-0001");
    tensor = read_input(argument, *port, scaling);
  }
  for (std::size_t i = 0; i < ports.size(); ++i) {
    if (tensors[i].defined()) continue;
    throw Failure(Exit::usage, "input '" + ports[i].name + "' is missing",
                  "give it with --input " + ports[i].name + "=FILE; the inputs are: " + ports_text(ports), "MLE-0001");
  }
  return tensors;
}

// The number as mlctl prints it: JSON has no other numbers.
List values_of(const Tensor& tensor, TensorView& view) {
  const std::vector<double> values = tensor.to_vector<double>();
  view.least = view.mean = view.greatest = std::numeric_limits<double>::quiet_NaN();
  if (!values.empty()) {
    const auto [least, greatest] = std::minmax_element(values.begin(), values.end());
    view.mean = std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
    const bool number = !std::isnan(view.mean);
    view.least = number ? *least : view.mean;
    view.greatest = number ? *greatest : view.mean;
  }
  return List(values.begin(), values.end());
}

// Names of outputs come from the model's file, and become names of files.
std::filesystem::path file_for(const std::filesystem::path& folder, const std::string& output) {
  const bool harmless =
      !output.empty() && output.front() != '.' && std::all_of(output.begin(), output.end(), [](char c) {
        return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-' || c == '.';
      });
  if (!harmless) {
    throw Error(Code::invalid_argument, "the output '" + printable(output) + "' has a name that is no name of a file",
                {}, "print it with -o json instead of --output");
  }
  return folder / (output + ".npy");
}

void show_tensors(const Invocation& invocation, const Model& model, const std::vector<Tensor>& outputs) {
  const std::filesystem::path folder = invocation.text("--output");
  std::vector<std::filesystem::path> files(outputs.size());
  if (!folder.empty())
    for (std::size_t i = 0; i < outputs.size(); ++i) files[i] = file_for(folder, model.outputs()[i].name);
  std::vector<TensorView> views;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const Tensor& tensor = outputs[i];
    TensorView view{.name = model.outputs()[i].name, .dtype = std::string(dtype_name(tensor.dtype()))};
    view.shape.assign(tensor.shape().begin(), tensor.shape().end());
    view.values = values_of(tensor, view);
    if (!folder.empty()) {
      std::filesystem::create_directories(folder);
      data::save_npy(files[i].string(), tensor);
      view.file = files[i].string();
    }
    views.push_back(std::move(view));
  }
  invocation.show(kTensorKind, rows_of(kTensorKind, views));
}

std::vector<std::string> read_labels(const std::string& path) {
  std::vector<std::string> labels;
  if (path.empty()) return labels;
  std::ifstream file(path);
  if (!file) throw Error(Code::not_found, "cannot read '" + path + "'", {}, "one name a line is expected there");
  for (std::string line; std::getline(file, line);) labels.push_back(line);
  return labels;
}

void show_predictions(const Invocation& invocation, const Model& model, const std::vector<Tensor>& outputs) {
  const std::vector<std::string> labels = read_labels(invocation.text("--labels"));
  std::vector<Prediction> predictions;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const Tensor& tensor = outputs[i];
    const std::int64_t samples = tensor.rank() > 1 ? tensor.size(0) : 1;
    const std::int64_t width = samples == 0 ? 0 : tensor.elements() / samples;
    const std::vector<double> values = tensor.to_vector<double>();
    const auto top = static_cast<std::int64_t>(
        std::min<std::uint64_t>(invocation.count("--top"), static_cast<std::uint64_t>(width)));
    for (std::int64_t sample = 0; sample < samples; ++sample) {
      const double* const row = values.data() + sample * width;
      std::vector<std::int64_t> order(static_cast<std::size_t>(width));
      std::iota(order.begin(), order.end(), 0);
      // NaN is no high value; equal ones keep their order.
      const auto height = [&](std::int64_t at) {
        return std::isnan(row[at]) ? -std::numeric_limits<double>::infinity() : row[at];
      };
      std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return height(a) > height(b); });
      for (std::int64_t rank = 0; rank < top; ++rank) {
        const std::int64_t index = order[static_cast<std::size_t>(rank)];
        Prediction prediction{.output = model.outputs()[i].name, .sample = sample, .rank = rank + 1, .index = index};
        prediction.value = row[index];
        if (static_cast<std::size_t>(index) < labels.size()) prediction.label = labels[static_cast<std::size_t>(index)];
        predictions.push_back(std::move(prediction));
      }
    }
  }
  invocation.show(kPredictionKind, rows_of(kPredictionKind, predictions));
}

}  // namespace

Exit run_model_infer(const Invocation& invocation) {
  if (invocation.has("--top") && invocation.has("--output"))
    throw Failure(Exit::usage, "--top shows elements, --output writes all: give one of them", {}, "MLE-0001");
  open_session(invocation);
  const Model model = Model::open(invocation.text("MODEL"));
  const std::vector<Tensor> inputs = read_inputs(invocation, model);
  const auto began = std::chrono::steady_clock::now();
  const std::vector<Tensor> outputs = model.run(inputs);
  eval(outputs);
  const auto took = std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now() - began);
  invocation.detail("ran in " + human_duration(static_cast<std::uint64_t>(took.count())) + ", compiling included");
  if (invocation.has("--top"))
    show_predictions(invocation, model, outputs);
  else
    show_tensors(invocation, model, outputs);
  return Exit::ok;
}

}  // namespace ml::ctl
