#include <cmath>

#include "ml/nn.h"

namespace ml::nn {
namespace {

void want_positive(std::int64_t value, const char* what) {
  if (value <= 0) throw Error(Code::invalid_argument, std::string(what) + " is " + std::to_string(value));
}
std::int64_t size(std::int64_t value, const char* what) {
  if (value < 0) throw Error(Code::invalid_argument, std::string(what) + " is " + std::to_string(value));
  return value;
}

// What torch.nn.init.kaiming_uniform_(weight, a=sqrt(5)) comes to, and the bound of the bias: U(-1/sqrt(fan_in), ...).
Tensor uniform_by_fan_in(const Shape& shape, std::int64_t fan_in) {
  const double bound = fan_in > 0 ? 1 / std::sqrt(static_cast<double>(fan_in)) : 0;
  return uniform(shape, -bound, bound, default_generator());
}

}  // namespace

Linear::Linear(std::int64_t in_features, std::int64_t out_features, bool with_bias)
    : weight(register_parameter("weight", uniform_by_fan_in({size(out_features, "Linear: out_features"),
                                                             size(in_features, "Linear: in_features")},
                                                            in_features))),
      bias(register_parameter("bias", with_bias ? uniform_by_fan_in({out_features}, in_features) : Tensor{})),
      in_features_(in_features) {}

Tensor Linear::forward(const Tensor& x) {
  Tensor input = x;
  if (x.rank() == 0 || x.size(-1) != in_features_) {
    int axis = x.rank();
    std::int64_t product = 1;
    while (axis > 0 && x.shape()[axis - 1] != kUnknown && product < in_features_) product *= x.shape()[--axis];
    if (product != in_features_ || x.rank() - axis < 2) {
      throw Error(Code::invalid_argument,
                  "Linear: x is " + x.shape().str() + ", but in_features is " + std::to_string(in_features_), {},
                  "the last axis, or the product of trailing axes, must be in_features");
    }
    while (axis > 1 && x.shape()[axis - 1] == 1) --axis;  // the channel of a grey picture
    input = flatten(x, axis);
  }
  const Tensor product = matmul(input, weight.t());
  return bias.defined() ? product + bias : product;
}

namespace {

std::int64_t convolution_fan_in(std::int64_t in_channels, std::int64_t kernel_size, const Conv2dOptions& options) {
  want_positive(in_channels, "Conv2d: in_channels");
  want_positive(kernel_size, "Conv2d: kernel_size");
  want_positive(options.groups, "Conv2d: groups");
  if (in_channels % options.groups != 0) {
    throw Error(Code::invalid_argument, "Conv2d: " + std::to_string(in_channels) + " channels do not divide into " +
                                            std::to_string(options.groups) + " groups");
  }
  return in_channels / options.groups * kernel_size * kernel_size;
}

}  // namespace

Conv2d::Conv2d(std::int64_t in_channels, std::int64_t out_channels, std::int64_t kernel_size, Conv2dOptions options)
    : weight(register_parameter("weight", uniform_by_fan_in({size(out_channels, "Conv2d: out_channels"),
                                                             in_channels / std::max<std::int64_t>(options.groups, 1),
                                                             kernel_size, kernel_size},
                                                            convolution_fan_in(in_channels, kernel_size, options)))),
      bias(register_parameter(
          "bias", options.bias
                      ? uniform_by_fan_in({out_channels}, convolution_fan_in(in_channels, kernel_size, options))
                      : Tensor{})),
      options_(options) {}

Tensor Conv2d::forward(const Tensor& x) {
  if (x.rank() != 4) {
    throw Error(Code::invalid_argument, "Conv2d: wants [N, C, H, W], got " + x.shape().str());
  }
  return convolution(x, weight, bias,
                     {.stride = {options_.stride},
                      .padding = {options_.padding},
                      .dilation = {options_.dilation},
                      .groups = options_.groups});
}

BatchNorm2d::BatchNorm2d(std::int64_t features, double epsilon, double momentum)
    : weight(register_parameter("weight", ones({size(features, "BatchNorm2d: features")}))),
      bias(register_parameter("bias", zeros({features}))),
      running_mean(register_buffer("running_mean", zeros({features}))),
      running_var(register_buffer("running_var", ones({features}))),
      num_batches_tracked(register_buffer("num_batches_tracked", tensor(0, DType::i64))),
      features_(features),
      epsilon_(epsilon),
      momentum_(momentum) {}

Tensor BatchNorm2d::forward(const Tensor& x) {
  if (x.rank() != 4 || x.size(1) != features_) {
    throw Error(Code::invalid_argument,
                "BatchNorm2d: wants [N, " + std::to_string(features_) + ", H, W], got " + x.shape().str());
  }
  if (!is_training()) return batch_norm(x, weight, bias, running_mean, running_var, epsilon_);
  const std::int64_t count = x.size(0) * x.size(2) * x.size(3);
  if (count <= 1) {
    throw Error(
        Code::invalid_argument,
        "BatchNorm2d: a batch of shape " + x.shape().str() + " has one value per channel, which has no variance", {},
        "use a larger batch, or drop_last");
  }
  const BatchNormResult result = batch_norm_training(x, weight, bias, epsilon_);
  // The running variance is the unbiased one, as in PyTorch.
  const double unbiased = static_cast<double>(count) / (static_cast<double>(count) - 1);
  running_mean = running_mean * (1 - momentum_) + result.mean.detach() * momentum_;
  running_var = running_var * (1 - momentum_) + result.variance.detach() * (momentum_ * unbiased);
  num_batches_tracked += 1;
  return result.output;
}

LayerNorm::LayerNorm(Shape shape, double epsilon)
    : weight(register_parameter("weight", ones(shape))),
      bias(register_parameter("bias", zeros(shape))),
      shape_(shape),
      epsilon_(epsilon) {}

Tensor LayerNorm::forward(const Tensor& x) {
  const int first = x.rank() - shape_.rank();
  bool fits = first >= 0;
  for (int i = 0; fits && i < shape_.rank(); ++i) fits = x.shape()[first + i] == shape_[i];
  if (!fits) {
    throw Error(Code::invalid_argument, "LayerNorm: the last axes of " + x.shape().str() + " are not " + shape_.str());
  }
  return layer_norm(x, weight, bias, epsilon_);
}

namespace {

PoolOptions pool_options(const Pool2dOptions& options) {
  return {.stride = options.stride > 0 ? Axes{options.stride} : Axes{}, .padding = {options.padding}};
}
void want_images(const Tensor& x, const char* what) {
  if (x.rank() != 4)
    throw Error(Code::invalid_argument, std::string(what) + ": wants [N, C, H, W], got " + x.shape().str());
}

}  // namespace

MaxPool2d::MaxPool2d(std::int64_t kernel_size, Pool2dOptions options) : kernel_size_(kernel_size), options_(options) {
  want_positive(kernel_size, "MaxPool2d: kernel_size");
}
Tensor MaxPool2d::forward(const Tensor& x) {
  want_images(x, "MaxPool2d");
  return max_pool(x, {kernel_size_}, pool_options(options_));
}

AvgPool2d::AvgPool2d(std::int64_t kernel_size, Pool2dOptions options) : kernel_size_(kernel_size), options_(options) {
  want_positive(kernel_size, "AvgPool2d: kernel_size");
}
Tensor AvgPool2d::forward(const Tensor& x) {
  want_images(x, "AvgPool2d");
  return avg_pool(x, {kernel_size_}, pool_options(options_));
}

Dropout::Dropout(double p) : p_(p) {
  if (!(p >= 0 && p <= 1))
    throw Error(Code::invalid_argument, "Dropout: p is " + std::to_string(p) + ", not in [0, 1]");
}
Tensor Dropout::forward(const Tensor& x) { return is_training() && p_ > 0 ? dropout(x, p_, default_generator()) : x; }

Embedding::Embedding(std::int64_t rows, std::int64_t width)
    : weight(register_parameter(
          "weight", randn({size(rows, "Embedding: rows"), size(width, "Embedding: width")}, default_generator()))) {}

}  // namespace ml::nn
