// Optimizers. They are made of the parameters that they update:
//
//   ml::optim::SGD sgd(net.parameters(), {.learning_rate = 0.1, .momentum = 0.9});
//   ml::Tensor loss = ml::cross_entropy(net.logits(x), y);
//   sgd.step(ml::nn::grad(loss, net.parameters()), {loss});   // updates, and computes the loss in the same program
//
// ml::train::Trainer takes one and compiles the whole step.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ml/nn.h"

namespace ml::optim {

class ML_API Optimizer {
 public:
  virtual ~Optimizer();
  Optimizer(Optimizer&&) noexcept;
  Optimizer& operator=(Optimizer&&) = delete;

  // One update by one gradient per parameter, in their order. `also` is computed in the same program. The learning rate
  // and the step number are inputs of that program: changing them compiles nothing.
  void step(std::span<const Tensor> gradients, std::initializer_list<Tensor> also = {});

  double learning_rate() const;
  void set_learning_rate(double learning_rate);
  std::int64_t steps() const;  // taken so far
  void set_steps(std::int64_t steps);
  const std::vector<nn::Parameter>& parameters() const;

  // Its state by name: "momentum.0.weight", ... Zero before the first step.
  std::vector<nn::NamedTensor> state_dict() const;
  // Throws invalid_argument when names, shapes or dtypes are not those of state_dict().
  void load_state_dict(std::span<const nn::NamedTensor> state);

  // --- for the Trainer and for optimizers of your own ------------------------------------------------------------

  // Names of the state tensors that each parameter has, of its shape and dtype: {"momentum"}.
  virtual std::vector<std::string> state_names() const = 0;
  struct Update {
    Tensor parameter;
    std::vector<Tensor> state;
  };
  // The update of one parameter. learning_rate is f32[]; step is i64[], 1 at the first one.
  virtual Update update(const Tensor& parameter, const Tensor& gradient, std::span<const Tensor> state,
                        const Tensor& learning_rate, const Tensor& step) const = 0;
  // state()[i][k]: state tensor k of parameter i.
  std::vector<std::vector<Tensor>>& state();

 protected:
  Optimizer(std::vector<nn::Parameter> parameters, double learning_rate);

 private:
  struct Data;
  std::unique_ptr<Data> data_;
};

struct SGDOptions {
  double learning_rate = 1e-3;
  double momentum = 0;
  double weight_decay = 0;  // L2: added to the gradient
  bool nesterov = false;
};
class ML_API SGD : public Optimizer {
 public:
  explicit SGD(std::vector<nn::Parameter> parameters, SGDOptions options = {});
  std::vector<std::string> state_names() const override;
  Update update(const Tensor& parameter, const Tensor& gradient, std::span<const Tensor> state,
                const Tensor& learning_rate, const Tensor& step) const override;

 private:
  SGDOptions options_;
};

struct AdamOptions {
  double learning_rate = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0;
};
// Kingma and Ba, arXiv 1412.6980; weight decay is L2, added to the gradient.
class ML_API Adam : public Optimizer {
 public:
  explicit Adam(std::vector<nn::Parameter> parameters, AdamOptions options = {});
  std::vector<std::string> state_names() const override;
  Update update(const Tensor& parameter, const Tensor& gradient, std::span<const Tensor> state,
                const Tensor& learning_rate, const Tensor& step) const override;

 protected:
  Adam(std::vector<nn::Parameter> parameters, AdamOptions options, bool decoupled);

 private:
  AdamOptions options_;
  bool decoupled_ = false;
};
// Loshchilov and Hutter, arXiv 1711.05101: decay is decoupled from the gradient. PyTorch's default decay is 0.01.
class ML_API AdamW : public Adam {
 public:
  explicit AdamW(std::vector<nn::Parameter> parameters, AdamOptions options = {1e-3, 0.9, 0.999, 1e-8, 0.01});
};

// A learning rate by step, counted from 0.
using Schedule = std::function<double(std::int64_t step)>;
ML_API Schedule constant(double learning_rate);
// learning_rate * factor^(step / every)
ML_API Schedule step_decay(double learning_rate, std::int64_t every, double factor);
// From learning_rate to `final` over `steps` along half a cosine (Loshchilov and Hutter, arXiv 1608.03983).
ML_API Schedule cosine(double learning_rate, std::int64_t steps, double final_rate = 0);
// Rises linearly from 0 over `steps`, then follows `schedule` from its beginning.
ML_API Schedule warmup(std::int64_t steps, Schedule schedule);

}  // namespace ml::optim
