// Neural networks: modules with named parameters and buffers, as PyTorch has them. Defaults and initialisation are
// PyTorch's, and so are the names in state_dict(): weights can be exchanged with it.
//
//   ml::manual_seed(1);
//   ml::nn::Sequential net(ml::nn::Linear(784, 128), ml::nn::ReLU(), ml::nn::Linear(128, 10), ml::nn::Softmax());
//   ml::Tensor probabilities = net(images);
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "ml/ops.h"
#include "ml/random.h"
#include "ml/tensor.h"

namespace ml::nn {

struct Slot;

// A place in a module that holds a tensor; copies name the same place.
class ML_API Parameter {
 public:
  const std::string& name() const;  // "0.weight": its path from the module that was asked
  Tensor& value() const;
  bool trained() const;  // false for a buffer

  using Slots = std::vector<std::shared_ptr<Slot>>;
  Parameter(std::string name, std::shared_ptr<Slot> slot, std::shared_ptr<const Slots> buffers);
  const std::shared_ptr<Slot>& slot() const { return slot_; }
  const std::shared_ptr<const Slots>& buffers() const { return buffers_; }  // of the module that was asked

 private:
  std::string name_;
  std::shared_ptr<Slot> slot_;
  std::shared_ptr<const Slots> buffers_;
};

struct NamedTensor {
  std::string name;
  Tensor tensor;
};

// A function with parameters (trained), buffers (state that is not trained, such as running statistics) and submodules.
// Derive from it, register what it holds in the constructor, and write forward(). Modules move, they don't copy.
//
//   struct Net : ml::nn::Module {
//     ml::nn::Linear& hidden = register_module("hidden", ml::nn::Linear(784, 128));
//     ml::nn::Linear& output = register_module("output", ml::nn::Linear(128, 10));
//     ml::Tensor forward(const ml::Tensor& x) override { return output(ml::relu(hidden(x))); }
//   };
class ML_API Module {
 public:
  Module();
  virtual ~Module();
  Module(Module&&) noexcept;
  Module& operator=(Module&&) = delete;

  // Throws invalid_argument, naming shapes, when x does not fit.
  virtual Tensor forward(const Tensor& x) = 0;
  Tensor operator()(const Tensor& x) { return forward(x); }
  // What forward() computes before a final Softmax, or its result when there is none: what cross-entropy wants.
  virtual Tensor logits(const Tensor& x) { return forward(x); }

  // In the order of registration, those of submodules behind; names are paths such as "3.running_mean".
  std::vector<Parameter> parameters() const;
  std::vector<Parameter> buffers() const;
  std::int64_t parameter_count() const;  // elements of all parameters

  // Dropout and batch norm behave differently while training. New modules train.
  void train(bool on = true);
  void eval() { train(false); }
  bool is_training() const;

  // Parameters and buffers by name.
  std::vector<NamedTensor> state_dict() const;
  // Replaces all of them. Throws invalid_argument listing what is missing, unknown or of another shape or dtype; then
  // nothing was replaced.
  void load_state_dict(std::span<const NamedTensor> state);
  // As a safetensors file. save() writes beside `path` and renames, so a failure leaves an old file as it was.
  void save(const std::string& path) const;
  void load(const std::string& path);

 protected:
  // The references stay valid when the module moves. An undefined tensor is no parameter ("bias = false").
  Tensor& register_parameter(std::string name, Tensor initial);
  Tensor& register_buffer(std::string name, Tensor initial);
  template <class M>
  M& register_module(std::string name, M module) {  // NOLINT(performance-unnecessary-value-param): it is moved
    auto owned = std::make_shared<M>(std::move(module));
    M& reference = *owned;
    add_module(std::move(name), std::move(owned));
    return reference;
  }
  void add_module(std::string name, std::shared_ptr<Module> module);
  const std::vector<std::pair<std::string, std::shared_ptr<Module>>>& modules() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// One module after the other, named "0", "1", ...
class ML_API Sequential : public Module {
 public:
  template <class... M>
  requires(sizeof...(M) > 0 && (std::is_base_of_v<Module, std::remove_cvref_t<M>> && ...) &&
           !(sizeof...(M) == 1 &&
             (std::is_same_v<Sequential, std::remove_cvref_t<M>> && ...))) explicit Sequential(M&&... modules) {
    (append(std::make_shared<std::remove_cvref_t<M>>(std::forward<M>(modules))), ...);
  }
  explicit Sequential(std::vector<std::shared_ptr<Module>> modules);

  void append(std::shared_ptr<Module> module);
  std::size_t size() const { return modules().size(); }
  Module& operator[](std::size_t i) const { return *modules().at(i).second; }

  Tensor forward(const Tensor& x) override;
  Tensor logits(const Tensor& x) override;

 private:
  Tensor run(Tensor x, std::size_t count);
};

// x [..., in_features] -> x W^T + b [..., out_features]. When the last axis is not in_features but the trailing axes
// multiply to it, they are flattened first, with axes of 1 before them: [N, 64, 7, 7] fits Linear(64 * 7 * 7, 10),
// and [N, 1, 28, 28] is [N, 784].
class ML_API Linear : public Module {
 public:
  Linear(std::int64_t in_features, std::int64_t out_features, bool bias = true);
  Tensor forward(const Tensor& x) override;
  Tensor& weight;  // [out_features, in_features]
  Tensor& bias;    // [out_features] or undefined

 private:
  std::int64_t in_features_;
};

struct Conv2dOptions {
  std::int64_t stride = 1;
  std::int64_t padding = 0;
  std::int64_t dilation = 1;
  std::int64_t groups = 1;
  bool bias = true;
};
// x [N, in_channels, H, W] -> [N, out_channels, H', W'].
class ML_API Conv2d : public Module {
 public:
  Conv2d(std::int64_t in_channels, std::int64_t out_channels, std::int64_t kernel_size, Conv2dOptions options = {});
  Tensor forward(const Tensor& x) override;
  Tensor& weight;  // [out_channels, in_channels / groups, kernel_size, kernel_size]
  Tensor& bias;    // [out_channels] or undefined

 private:
  Conv2dOptions options_;
};

// x [N, features, H, W]. Training: statistics of the batch, and running ones move by `momentum` towards them.
class ML_API BatchNorm2d : public Module {
 public:
  explicit BatchNorm2d(std::int64_t features, double epsilon = 1e-5, double momentum = 0.1);
  Tensor forward(const Tensor& x) override;
  Tensor &weight, &bias;                                     // [features]
  Tensor &running_mean, &running_var, &num_batches_tracked;  // [features], [features], i64[]

 private:
  std::int64_t features_;
  double epsilon_, momentum_;
};

// Over the last axes, which must be `shape`.
class ML_API LayerNorm : public Module {
 public:
  explicit LayerNorm(Shape shape, double epsilon = 1e-5);
  Tensor forward(const Tensor& x) override;
  Tensor &weight, &bias;  // of `shape`

 private:
  Shape shape_;
  double epsilon_;
};

struct Pool2dOptions {
  std::int64_t stride = 0;  // 0: the window's size
  std::int64_t padding = 0;
};
class ML_API MaxPool2d : public Module {
 public:
  explicit MaxPool2d(std::int64_t kernel_size, Pool2dOptions options = {});
  Tensor forward(const Tensor& x) override;

 private:
  std::int64_t kernel_size_;
  Pool2dOptions options_;
};
class ML_API AvgPool2d : public Module {
 public:
  explicit AvgPool2d(std::int64_t kernel_size, Pool2dOptions options = {});
  Tensor forward(const Tensor& x) override;

 private:
  std::int64_t kernel_size_;
  Pool2dOptions options_;
};

class ML_API ReLU : public Module {
 public:
  Tensor forward(const Tensor& x) override { return relu(x); }
};
class ML_API GELU : public Module {
 public:
  explicit GELU(bool tanh_approximation = false) : tanh_approximation_(tanh_approximation) {}
  Tensor forward(const Tensor& x) override { return gelu(x, tanh_approximation_); }

 private:
  bool tanh_approximation_;
};
class ML_API Softmax : public Module {
 public:
  explicit Softmax(int axis = -1) : axis_(axis) {}
  Tensor forward(const Tensor& x) override { return softmax(x, axis_); }
  Tensor logits(const Tensor& x) override { return x; }

 private:
  int axis_;
};
// Training: each element is 0 with probability p, otherwise scaled by 1 / (1 - p). Draws from default_generator().
class ML_API Dropout : public Module {
 public:
  explicit Dropout(double p = 0.5);
  Tensor forward(const Tensor& x) override;

 private:
  double p_;
};
// [N, a, b, ...] -> [N, a * b * ...]
class ML_API Flatten : public Module {
 public:
  Tensor forward(const Tensor& x) override { return flatten(x, 1); }
};
// Indices of any shape, i32 or i64 -> indices.shape + [width]
class ML_API Embedding : public Module {
 public:
  Embedding(std::int64_t rows, std::int64_t width);
  Tensor forward(const Tensor& indices) override { return embedding(weight, indices); }
  Tensor& weight;  // [rows, width]
};

// All tensors of a safetensors file, in the order of its header. Throws not_found, or corrupt naming what is wrong.
ML_API std::vector<NamedTensor> load_safetensors(const std::string& path);
// Written beside `path` and renamed. Throws no_space or io.
ML_API void save_safetensors(const std::string& path, std::span<const NamedTensor> tensors);

// d loss / d p for each parameter.
ML_API std::vector<Tensor> grad(const Tensor& loss, std::span<const Parameter> parameters);

}  // namespace ml::nn
