#include "ml/optim.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <set>

#include "engine/graph/build_nn.h"
#include "libmlclient/nn/module.h"
#include "libmlclient/tensor/call.h"

namespace ml::optim {

struct Optimizer::Data {
  std::vector<nn::Parameter> parameters;
  double learning_rate;
  std::int64_t steps = 0;
  std::vector<std::vector<Tensor>> state;
};

Optimizer::Optimizer(std::vector<nn::Parameter> parameters, double learning_rate)
    : data_(std::make_unique<Data>(Data{std::move(parameters), learning_rate, 0, {}})) {
  if (data_->parameters.empty()) {
    throw Error(Code::invalid_argument, "an optimizer was given no parameters", {}, "pass module.parameters()");
  }
  if (!(learning_rate >= 0)) {
    throw Error(Code::invalid_argument, "an optimizer's learning rate is " + std::to_string(learning_rate));
  }
}
Optimizer::~Optimizer() = default;
Optimizer::Optimizer(Optimizer&&) noexcept = default;

double Optimizer::learning_rate() const { return data_->learning_rate; }
void Optimizer::set_learning_rate(double learning_rate) { data_->learning_rate = learning_rate; }
std::int64_t Optimizer::steps() const { return data_->steps; }
void Optimizer::set_steps(std::int64_t steps) { data_->steps = steps; }
const std::vector<nn::Parameter>& Optimizer::parameters() const { return data_->parameters; }

std::vector<std::vector<Tensor>>& Optimizer::state() {
  if (!data_->state.empty()) return data_->state;
  const std::size_t count = state_names().size();
  std::vector<Tensor> all;
  for (const nn::Parameter& parameter : data_->parameters) {
    std::vector<Tensor>& state = data_->state.emplace_back();
    for (std::size_t k = 0; k < count; ++k) {
      state.push_back(zeros_like(parameter.value()));
      all.push_back(state.back());
    }
  }
  eval(all);
  return data_->state;
}

void Optimizer::step(std::span<const Tensor> gradients, std::initializer_list<Tensor> also) {
  const std::vector<nn::Parameter>& parameters = data_->parameters;
  if (gradients.size() != parameters.size()) {
    throw Error(Code::invalid_argument,
                "step: " + std::to_string(gradients.size()) + " gradients for " + std::to_string(parameters.size()) +
                    " parameters",
                {}, "give one gradient per parameter, in the order of parameters()");
  }
  std::vector<std::vector<Tensor>> state = this->state();
  const Tensor rate = tensor(data_->learning_rate, DType::f32);
  const Tensor number = tensor(data_->steps + 1, DType::i64);
  std::vector<Tensor> updated, all(also);
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    try {
      Update result = update(parameters[i].value(), gradients[i], state[i], rate, number);
      updated.push_back(std::move(result.parameter));
      state[i] = std::move(result.state);
    } catch (const Error& error) {
      throw error.within("parameter " + parameters[i].name());
    }
    all.push_back(updated.back());
    all.insert(all.end(), state[i].begin(), state[i].end());
  }
  // Buffers that the forward pass has moved on, such as running statistics, belong to the step.
  std::set<const nn::Parameter::Slots*> seen;
  for (const nn::Parameter& parameter : parameters) {
    if (!parameter.buffers() || !seen.insert(parameter.buffers().get()).second) continue;
    for (const auto& buffer : *parameter.buffers()) all.push_back(buffer->tensor);
  }
  eval(all);
  for (std::size_t i = 0; i < parameters.size(); ++i) parameters[i].value() = updated[i];
  for (std::size_t i = 0; i < state.size(); ++i)
    std::ranges::move(state[i], data_->state[i].begin());  // in their places
  ++data_->steps;
}

std::vector<nn::NamedTensor> Optimizer::state_dict() const {
  const std::vector<std::string> names = state_names();
  const auto& state = const_cast<Optimizer*>(this)->state();  // makes the zeros
  std::vector<nn::NamedTensor> entries;
  for (std::size_t i = 0; i < data_->parameters.size(); ++i) {
    for (std::size_t k = 0; k < names.size(); ++k)
      entries.push_back({names[k] + "." + data_->parameters[i].name(), state[i][k]});
  }
  return entries;
}

void Optimizer::load_state_dict(std::span<const nn::NamedTensor> entries) {
  const std::vector<std::string> names = state_names();
  std::vector<nn::Parameter> slots;
  for (std::size_t i = 0; i < data_->parameters.size(); ++i) {
    for (std::size_t k = 0; k < names.size(); ++k) {
      slots.emplace_back(names[k] + "." + data_->parameters[i].name(),
                         std::make_shared<nn::Slot>(nn::Slot{"", state()[i][k], false}), nullptr);
    }
  }
  nn::load_tensors(slots, entries, "load_state_dict of an optimizer");
  for (std::size_t i = 0; i < slots.size(); ++i) data_->state[i / names.size()][i % names.size()] = slots[i].value();
}

SGD::SGD(std::vector<nn::Parameter> parameters, SGDOptions options)
    : Optimizer(std::move(parameters), options.learning_rate), options_(options) {
  if (options.nesterov && options.momentum == 0)
    throw Error(Code::invalid_argument, "SGD: nesterov needs a momentum", {}, "set momentum, for example to 0.9");
}

std::vector<std::string> SGD::state_names() const {
  return options_.momentum != 0 ? std::vector<std::string>{"momentum"} : std::vector<std::string>{};
}

Optimizer::Update SGD::update(const Tensor& parameter, const Tensor& gradient, std::span<const Tensor> state,
                              const Tensor& learning_rate, const Tensor&) const {
  if (options_.momentum == 0) {
    const Tensor direction = options_.weight_decay != 0 ? gradient + parameter * options_.weight_decay : gradient;
    return {parameter - learning_rate.to(parameter.dtype()) * direction, {}};
  }
  const Tensor inputs[] = {parameter, gradient, state[0], learning_rate};
  SgdAttributes attributes;
  attributes.momentum = options_.momentum;
  attributes.weight_decay = options_.weight_decay;
  attributes.nesterov = options_.nesterov;
  const std::vector<Tensor> results = client::record_built(
      inputs,
      [](void* context, Graph&, std::span<const Var> v) -> std::vector<Var> {
        const auto [next, velocity] =
            sgd_momentum_update(v[0], v[1], v[2], v[3], *static_cast<SgdAttributes*>(context));
        return {next, velocity};
      },
      &attributes);
  return {results[0], {results[1]}};
}

Adam::Adam(std::vector<nn::Parameter> parameters, AdamOptions options) : Adam(std::move(parameters), options, false) {}
Adam::Adam(std::vector<nn::Parameter> parameters, AdamOptions options, bool decoupled)
    : Optimizer(std::move(parameters), options.learning_rate), options_(options), decoupled_(decoupled) {}
AdamW::AdamW(std::vector<nn::Parameter> parameters, AdamOptions options) : Adam(std::move(parameters), options, true) {}

std::vector<std::string> Adam::state_names() const { return {"exp_avg", "exp_avg_sq"}; }

Optimizer::Update Adam::update(const Tensor& parameter, const Tensor& gradient, std::span<const Tensor> state,
                               const Tensor& learning_rate, const Tensor& step) const {
  const Tensor inputs[] = {parameter, gradient, state[0], state[1], learning_rate, step};
  AdamAttributes attributes;
  attributes.beta1 = options_.beta1;
  attributes.beta2 = options_.beta2;
  attributes.epsilon = options_.epsilon;
  attributes.weight_decay = options_.weight_decay;
  attributes.decoupled = decoupled_;
  const std::vector<Tensor> results = client::record_built(
      inputs,
      [](void* context, Graph&, std::span<const Var> v) -> std::vector<Var> {
        const auto [next, m, s] =
            adam_update(v[0], v[1], v[2], v[3], v[4], v[5], *static_cast<AdamAttributes*>(context));
        return {next, m, s};
      },
      &attributes);
  return {results[0], {results[1], results[2]}};
}

Schedule constant(double learning_rate) {
  return [=](std::int64_t) { return learning_rate; };
}
Schedule step_decay(double learning_rate, std::int64_t every, double factor) {
  if (every <= 0) throw Error(Code::invalid_argument, "step_decay: every is " + std::to_string(every));
  return [=](std::int64_t step) { return learning_rate * std::pow(factor, static_cast<double>(step / every)); };
}
Schedule cosine(double learning_rate, std::int64_t steps, double final_rate) {
  if (steps <= 0) throw Error(Code::invalid_argument, "cosine: steps is " + std::to_string(steps));
  return [=](std::int64_t step) {
    const double part = std::min(1.0, static_cast<double>(step) / static_cast<double>(steps));
    return final_rate + (learning_rate - final_rate) * 0.5 * (1 + std::cos(std::numbers::pi * part));
  };
}
Schedule warmup(std::int64_t steps, Schedule schedule) {
  if (steps <= 0) throw Error(Code::invalid_argument, "warmup: steps is " + std::to_string(steps));
  return [=](std::int64_t step) {
    if (step >= steps) return schedule(step - steps);
    return schedule(0) * static_cast<double>(step + 1) / static_cast<double>(steps);
  };
}

}  // namespace ml::optim
