#include <algorithm>

#include "libmlclient/model/model_data.h"
#include "libmlclient/session/execution.h"
#include "ml/model.h"
#include "ml/ops.h"

namespace ml {

struct PreparedRun::State {
  struct Port {
    TensorType type;
    std::shared_ptr<client::Storage> storage;
  };
  std::shared_ptr<Model::Data> model;
  std::shared_ptr<client::SessionCore> session;
  std::vector<Port> inputs, outputs;
  std::unique_ptr<client::Execution> execution;

  // Makes the execution, of the program that the connection has now.
  void bind() {
    const std::shared_ptr<client::Connection> connection = session->connection();
    auto made = std::make_unique<client::Execution>(session, connection, model->program(session, connection),
                                                    inputs.size() + outputs.size(), 0);
    for (std::size_t i = 0; i < inputs.size(); ++i) made->bind(i, MLRING_IN, inputs[i].type, inputs[i].storage);
    for (std::size_t i = 0; i < outputs.size(); ++i)
      made->bind(inputs.size() + i, MLRING_OUT, outputs[i].type, outputs[i].storage);
    execution = std::move(made);
  }
};

PreparedRun::PreparedRun(std::unique_ptr<State> state) : state_(std::move(state)) {}
PreparedRun::~PreparedRun() = default;
PreparedRun::PreparedRun(PreparedRun&&) noexcept = default;
PreparedRun& PreparedRun::operator=(PreparedRun&&) noexcept = default;

std::span<std::byte> PreparedRun::input(std::size_t i) const {
  const auto& storage = state_->inputs.at(i).storage;
  return {storage->host(), static_cast<std::size_t>(storage->bytes())};
}
std::span<const std::byte> PreparedRun::output(std::size_t i) const {
  const auto& storage = state_->outputs.at(i).storage;
  return {storage->host(), static_cast<std::size_t>(storage->bytes())};
}
const Shape& PreparedRun::output_shape(std::size_t i) const { return state_->outputs.at(i).type.shape; }

void PreparedRun::run() {
  start();
  wait();
}

void PreparedRun::start() {
  client::SessionCore::check_process();
  if (state_->execution->under_way())
    throw Error(Code::invalid_argument, "start: the run before it is under way", {}, "call wait() first");
  if (state_->execution->lost()) state_->bind();
  state_->execution->submit_again();
}

bool PreparedRun::done() const { return state_->execution->poll(); }

void PreparedRun::wait() {
  client::SessionCore::check_process();
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
  auto state = std::make_unique<PreparedRun::State>();
  state->model = data_;
  state->session = client::SessionCore::current();
  const auto port = [&](const Tensor& tensor) -> PreparedRun::State::Port {
    const TensorType type{tensor.dtype(), tensor.shape()};
    const auto bytes = static_cast<std::uint64_t>(type.shape.elements()) * dtype_size(type.dtype);
    auto storage = client::Storage::in_arena(state->session, bytes);
    std::fill_n(storage->host(), bytes, std::byte{0});
    return {type, std::move(storage)};
  };
  for (const Tensor& input : inputs) state->inputs.push_back(port(input));
  for (const Tensor& output : outputs) state->outputs.push_back(port(output));
  state->bind();
  return PreparedRun(std::move(state));
}

}  // namespace ml
