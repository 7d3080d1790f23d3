#include "ml/model.h"

#include <algorithm>

#include "libmlclient/model/model_data.h"
#include "libmlclient/model/model_file.h"
#include "libmlclient/session/execution.h"
#include "libmlclient/tensor/evaluate.h"
#include "libmlclient/tensor/trace.h"

namespace ml {
namespace {

constexpr std::size_t kShapesRemembered = 256;

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

// A mapped file that descriptors may name for the time of a compilation.
class FileArena {
 public:
  FileArena(client::SessionCore& session, const files::MappedFile& file) : session_(session) {
    id_ = session.transport().add_arena(file.base(), file.bytes().size());
  }
  ~FileArena() { session_.transport().remove_arena(id_); }
  FileArena(const FileArena&) = delete;
  FileArena& operator=(const FileArena&) = delete;
  std::uint32_t id() const { return id_; }

 private:
  client::SessionCore& session_;
  std::uint32_t id_;
};

}  // namespace

Model::Data::Data(Graph from, std::shared_ptr<files::MappedFile> mapped)
    : graph(std::move(from)), file(std::move(mapped)) {
  for (const GraphInput& input : graph.inputs()) {
    const TensorType& type = graph.type(input.value);
    inputs.push_back({input.name, type.dtype, type.shape, input.symbols});
  }
  for (const GraphOutput& output : graph.outputs()) {
    const TensorType& type = graph.type(output.value);
    outputs.push_back({output.name, type.dtype, type.shape, {}});
  }
}

std::shared_ptr<client::Program> Model::Data::program(const std::shared_ptr<client::SessionCore>& session) {
  const std::lock_guard lock(mutex_);
  if (program_ && session_.lock() == session) return program_;
  if (file) {
    const FileArena arena(*session, *file);
    std::vector<client::PlacedBlob> placed;
    for (const Node& node : graph.nodes()) {
      if (node.op->kind != OpKind::constant) continue;
      const Blob* const blob = node.as<ConstantAttributes>().value->blob.get();
      const std::byte* const at = blob->bytes().data();
      if (at >= file->base() && at + blob->bytes().size() <= file->base() + file->bytes().size())
        placed.push_back({blob, arena.id(), static_cast<std::uint64_t>(at - file->base())});
    }
    program_ = client::compile(session, graph, placed);
  } else {
    program_ = client::compile(session, graph);
  }
  session_ = session;
  return program_;
}

std::vector<std::uint64_t> Model::Data::known_sizes(const std::vector<std::int64_t>& key) {
  const std::lock_guard lock(mutex_);
  const auto at = sizes_.find(key);
  return at != sizes_.end() ? at->second : std::vector<std::uint64_t>(outputs.size(), 0);
}

void Model::Data::remember_sizes(const std::vector<std::int64_t>& key, std::vector<std::uint64_t> sizes) {
  const std::lock_guard lock(mutex_);
  if (sizes_.size() >= kShapesRemembered) sizes_.clear();
  sizes_.insert_or_assign(key, std::move(sizes));
}

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
  return Model(std::make_shared<Data>(std::move(graph), nullptr));
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
  return Model(std::make_shared<Data>(std::move(loaded.graph), std::move(loaded.file)));
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
  const std::shared_ptr<client::Program> program = data_->program(session);
  std::vector<std::uint64_t> sizes = data_->known_sizes(key);
  const std::size_t outputs = data_->outputs.size();
  // Output sizes follow from the graph and are the worker's to know: the first time it says what it needs.
  while (true) {
    client::Execution execution(session, program, ports.size() + outputs, ports.size() * 8);
    for (std::size_t i = 0; i < ports.size(); ++i) execution.bind_value(i, inputs[i].value(), i * 8);
    std::vector<std::shared_ptr<client::Storage>> storages;
    for (std::size_t i = 0; i < outputs; ++i) {
      storages.push_back(client::Storage::in_arena(session, sizes[i]));
      execution.bind(ports.size() + i, MLRING_OUT, {data_->outputs[i].dtype, {}}, storages.back());
    }
    const std::shared_ptr<client::Pending> pending = execution.submit_once();
    session->queue().wait(*pending, false);
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

struct PreparedRun::State {
  std::vector<std::shared_ptr<client::Storage>> inputs, outputs;
  std::vector<Shape> shapes;
  std::unique_ptr<client::Execution> execution;
};

PreparedRun::PreparedRun(std::unique_ptr<State> state) : state_(std::move(state)) {}
PreparedRun::~PreparedRun() = default;
PreparedRun::PreparedRun(PreparedRun&&) noexcept = default;
PreparedRun& PreparedRun::operator=(PreparedRun&&) noexcept = default;

std::span<std::byte> PreparedRun::input(std::size_t i) const {
  const auto& storage = state_->inputs.at(i);
  return {storage->host(), static_cast<std::size_t>(storage->bytes())};
}
std::span<const std::byte> PreparedRun::output(std::size_t i) const {
  const auto& storage = state_->outputs.at(i);
  return {storage->host(), static_cast<std::size_t>(storage->bytes())};
}
const Shape& PreparedRun::output_shape(std::size_t i) const { return state_->shapes.at(i); }

void PreparedRun::run() {
  client::SessionCore::check_process();
  state_->execution->submit_again();
  state_->execution->wait();
}

PreparedRun Model::prepare(std::span<const Shape> input_shapes) const {
  const std::vector<ModelPort>& ports = data_->inputs;
  if (input_shapes.size() != ports.size()) {
    throw Error(Code::invalid_argument, "prepare: " + std::to_string(input_shapes.size()) + " shapes, the model has " +
                                            std::to_string(ports.size()) + " inputs");
  }
  std::vector<Tensor> inputs;
  for (std::size_t i = 0; i < ports.size(); ++i) inputs.push_back(zeros(input_shapes[i], ports[i].dtype));
  const std::vector<Tensor> outputs = run(inputs);  // says the outputs' sizes
  const auto session = client::SessionCore::current();
  auto state = std::make_unique<PreparedRun::State>();
  state->execution =
      std::make_unique<client::Execution>(session, data_->program(session), inputs.size() + outputs.size(), 0);
  const auto bind = [&](std::size_t i, std::uint32_t direction, const Tensor& tensor) {
    const TensorType type{tensor.dtype(), tensor.shape()};
    const auto bytes = static_cast<std::uint64_t>(type.shape.elements()) * dtype_size(type.dtype);
    const auto storage = client::Storage::in_arena(session, bytes);
    std::fill_n(storage->host(), bytes, std::byte{0});
    state->execution->bind(i, direction, type, storage);
    return storage;
  };
  for (std::size_t i = 0; i < inputs.size(); ++i) state->inputs.push_back(bind(i, MLRING_IN, inputs[i]));
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    state->outputs.push_back(bind(inputs.size() + i, MLRING_OUT, outputs[i]));
    state->shapes.push_back(outputs[i].shape());
  }
  return PreparedRun(std::move(state));
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
