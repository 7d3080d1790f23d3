#include "ml/model.h"

#include <algorithm>

#include "libmlclient/model/model_data.h"
#include "libmlclient/model/model_file.h"
#include "libmlclient/session/execution.h"
#include "libmlclient/tensor/evaluate.h"
#include "libmlclient/tensor/trace.h"

namespace ml {
namespace {

// Unnamed unknown extents get names: at axis 0 "batch", elsewhere one of their own.
std::vector<std::string> symbols_of(const ModelPort& port) {
  if (port.shape.known()) return {};
  if (!port.symbols.empty() && static_cast<int>(port.symbols.size()) != port.shape.rank()) {
    throw Error(Code::invalid_argument, "Model: input '" + port.name + "' has " + std::to_string(port.symbols.size()) +
                                            " symbols for " + port.shape.str());
  }
  std::vector<std::string> symbols = port.symbols;
  symbols.resize(static_cast<std::size_t>(port.shape.rank()));
  for (int axis = 0; axis < port.shape.rank(); ++axis) {
    std::string& symbol = symbols[static_cast<std::size_t>(axis)];
    if (port.shape[axis] != kUnknown)
      symbol.clear();
    else if (symbol.empty())
      symbol = axis == 0 ? "batch" : port.name + "_" + std::to_string(axis);
  }
  return symbols;
}

std::string text(DType dtype, const Shape& shape) { return std::string(dtype_name(dtype)) + shape.str(); }

// Throws when a tensor is not what an input wants; equal symbols must get equal extents.
void check_input(const ModelPort& port, const Tensor& tensor, std::map<std::string, std::int64_t>& symbols) {
  const Shape& shape = tensor.shape();
  bool fits = tensor.dtype() == port.dtype && shape.rank() == port.shape.rank();
  for (int axis = 0; fits && axis < shape.rank(); ++axis)
    fits = port.shape[axis] == kUnknown || port.shape[axis] == shape[axis];
  if (!fits) {
    throw Error(Code::invalid_argument, "run: input '" + port.name + "' is " + text(tensor.dtype(), shape) +
                                            ", the model wants " + text(port.dtype, port.shape));
  }
  for (int axis = 0; axis < shape.rank(); ++axis) {
    if (port.shape[axis] != kUnknown) continue;
    const auto [at, is_new] = symbols.emplace(port.symbols[static_cast<std::size_t>(axis)], shape[axis]);
    if (!is_new && at->second != shape[axis]) {
      throw Error(Code::invalid_argument, "run: '" + at->first + "' is " + std::to_string(shape[axis]) + " in input '" +
                                              port.name + "' and " + std::to_string(at->second) + " in another");
    }
  }
}

}  // namespace

Model Model::trace(const std::function<std::vector<Tensor>(std::span<const Tensor>)>& function,
                   std::vector<ModelPort> inputs, std::vector<std::string> output_names) {
  std::vector<client::TracedPort> ports, results;
  std::vector<Tensor> placeholders;
  for (const ModelPort& input : inputs) {
    placeholders.push_back(client::make_placeholder({input.dtype, input.shape}));
    ports.push_back({input.name, placeholders.back(), symbols_of(input)});
  }
  std::vector<Tensor> outputs;
  {
    const client::TracingScope tracing;
    outputs = function(placeholders);
  }
  if (!output_names.empty() && output_names.size() != outputs.size()) {
    throw Error(Code::invalid_argument, "Model::trace: " + std::to_string(output_names.size()) + " names for " +
                                            std::to_string(outputs.size()) + " outputs");
  }
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const std::string name = !output_names.empty() ? output_names[i]
                             : outputs.size() == 1 ? "output"
                                                   : "output" + std::to_string(i);
    results.push_back({name, outputs[i]});
  }
  Graph graph = client::trace_to_graph(ports, results);
  verify(graph);
  return Model(std::make_shared<Data>(std::move(graph)));
}

Model Model::trace(nn::Module& module, std::vector<ModelPort> inputs, std::vector<std::string> output_names) {
  if (inputs.size() != 1) {
    throw Error(Code::invalid_argument, "Model::trace: a module has one input, not " + std::to_string(inputs.size()),
                {}, "trace a function of several tensors instead");
  }
  struct Mode {
    explicit Mode(nn::Module& traced) : module(traced), trained(traced.is_training()) { module.eval(); }
    ~Mode() { module.train(trained); }
    nn::Module& module;
    bool trained;
  } const mode(module);
  return trace([&](std::span<const Tensor> x) -> std::vector<Tensor> { return {module.forward(x[0])}; },
               std::move(inputs), std::move(output_names));
}

Model Model::load(const std::string& path) {
  client::LoadedModel loaded = client::read_model_file(path);
  return Model(std::make_shared<Data>(std::move(loaded.graph),
                                      std::vector<std::shared_ptr<files::MappedFile>>{std::move(loaded.file)}));
}

void Model::save(const std::string& path) const { client::write_model_file(path, data_->graph); }

const std::vector<ModelPort>& Model::inputs() const { return data_->inputs; }
const std::vector<ModelPort>& Model::outputs() const { return data_->outputs; }

std::vector<Tensor> Model::run(std::span<const Tensor> inputs) const {
  const std::vector<ModelPort>& ports = data_->inputs;
  if (inputs.size() != ports.size()) {
    throw Error(Code::invalid_argument,
                "run: " + std::to_string(inputs.size()) + " inputs, the model has " + std::to_string(ports.size()));
  }
  std::map<std::string, std::int64_t> symbols;
  std::vector<std::int64_t> key;
  for (std::size_t i = 0; i < ports.size(); ++i) {
    client::need(inputs[i], "run");
    check_input(ports[i], inputs[i], symbols);
    const auto dims = inputs[i].shape().dims();
    key.insert(key.end(), dims.begin(), dims.end());
  }
  client::start_evaluation(inputs);
  const auto session = client::SessionCore::current();
  const std::shared_ptr<client::Connection> connection = session->connection();
  const std::shared_ptr<client::Program> program = data_->program(session, connection);
  std::vector<std::uint64_t> sizes = data_->known_sizes(key);
  const std::size_t outputs = data_->outputs.size();
  // Output sizes follow from the graph and are the worker's to know: the first time it says what it needs.
  while (true) {
    client::Execution execution(session, connection, program, ports.size() + outputs, ports.size() * 8);
    for (std::size_t i = 0; i < ports.size(); ++i) execution.bind_value(i, inputs[i].value(), i * 8);
    std::vector<std::shared_ptr<client::Storage>> storages;
    for (std::size_t i = 0; i < outputs; ++i) {
      storages.push_back(client::Storage::in_arena(session, sizes[i]));
      execution.bind(ports.size() + i, MLRING_OUT, {data_->outputs[i].dtype, {}}, storages.back());
    }
    const std::shared_ptr<client::Pending> pending = execution.submit_once();
    connection->queue().wait(*pending, false);
    if (pending->status == MLRING_TOO_SMALL) {
      bool grew = false;
      for (std::size_t i = 0; i < outputs; ++i) {
        const std::uint64_t needed = execution.needed_bytes(ports.size() + i);
        grew |= needed > sizes[i];
        sizes[i] = std::max(sizes[i], needed);
      }
      if (!grew) pending->check();
      continue;
    }
    pending->check();
    data_->remember_sizes(key, sizes);
    std::vector<Tensor> results;
    for (std::size_t i = 0; i < outputs; ++i)
      results.push_back(client::make_stored(execution.actual_type(ports.size() + i), storages[i]));
    return results;
  }
}

std::vector<Tensor> Model::run(std::initializer_list<Tensor> inputs) const {
  return run(std::span(inputs.begin(), inputs.size()));
}

std::vector<Tensor> Model::run(std::span<const nn::NamedTensor> inputs) const {
  std::vector<Tensor> ordered;
  for (const ModelPort& port : data_->inputs) {
    const auto at = std::ranges::find(inputs, port.name, &nn::NamedTensor::name);
    if (at == inputs.end()) throw Error(Code::not_found, "run: input '" + port.name + "' is missing");
    ordered.push_back(at->tensor);
  }
  for (const nn::NamedTensor& input : inputs) {
    if (std::ranges::find(data_->inputs, input.name, &ModelPort::name) != data_->inputs.end()) continue;
    throw Error(Code::not_found, "run: the model has no input '" + input.name + "'");
  }
  return run(ordered);
}

}  // namespace ml
