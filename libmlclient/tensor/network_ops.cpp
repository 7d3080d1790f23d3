// Operations of neural networks, in the words of engine/graph/build_nn.h.
#include "engine/graph/build_nn.h"
#include "libmlclient/tensor/call.h"
#include "libmlclient/tensor/promote.h"
#include "ml/ops.h"

namespace ml {

using client::need;
using client::record_with;
using Vars = std::span<const Var>;

namespace {

Tensor floating(const Tensor& x, const char* what) { return x.to(client::to_floating(need(x, what)->type.dtype)); }

// A list of one value applies to all spatial dimensions.
Ints spread(const Axes& values, int spatial_rank, const std::string& what) {
  if (values.size() == 1) return Ints(static_cast<std::size_t>(spatial_rank), values.front());
  if (static_cast<int>(values.size()) != spatial_rank) {
    throw Error(Code::invalid_argument,
                what + " has " + std::to_string(values.size()) + " values for " + std::to_string(spatial_rank) +
                    " spatial dimensions",
                {}, "give one value, or one per dimension");
  }
  return values;
}

int spatial_rank(const Tensor& x, const char* what) {
  const int rank = need(x, what)->type.shape.rank() - 2;
  if (rank < 1 || rank > 3) {
    throw Error(Code::invalid_argument, std::string(what) + ": wants [N, C, spatial...] with one to three spatial " +
                                            "dimensions, got " + x.shape().str());
  }
  return rank;
}

Windows windows_of(const Axes& stride, const Axes& padding, const Axes& dilation, int rank, const std::string& what) {
  const Ints pads = spread(padding, rank, what + ": padding");
  return {spread(stride, rank, what + ": stride"), pads, pads, spread(dilation, rank, what + ": dilation")};
}

}  // namespace

Tensor softmax(const Tensor& x, int axis) {
  return record_with({floating(x, "softmax")}, [&](Vars v) { return softmax(v[0], axis); });
}
Tensor log_softmax(const Tensor& x, int axis) {
  return record_with({floating(x, "log_softmax")}, [&](Vars v) { return log_softmax(v[0], axis); });
}

Tensor cross_entropy(const Tensor& logits, const Tensor& targets) {
  const int rank = need(logits, "cross_entropy")->type.shape.rank();
  if (rank < 2) {
    throw Error(Code::invalid_argument, "cross_entropy: wants logits [N, C, ...], got " + logits.shape().str());
  }
  return record_with({floating(logits, "cross_entropy"), targets}, [&](Vars v) {
    Var scores = v[0];
    if (rank > 2) {  // classes last
      Ints order{0};
      for (std::int64_t axis = 2; axis < rank; ++axis) order.push_back(axis);
      order.push_back(1);
      scores = transpose(scores, order);
    }
    return reduce_mean(cross_entropy(scores, v[1]).loss);
  });
}

Tensor mse_loss(const Tensor& prediction, const Tensor& target) {
  if (prediction.shape() != target.shape()) {
    throw Error(Code::invalid_argument,
                "mse_loss: the prediction is " + prediction.shape().str() + ", the target " + target.shape().str(), {},
                "give them one shape");
  }
  return mean(square(prediction - target));
}

Tensor convolution(const Tensor& x, const Tensor& weight, const Tensor& bias, const ConvolutionOptions& options) {
  const int rank = spatial_rank(x, "convolution");
  const Windows windows = windows_of(options.stride, options.padding, options.dilation, rank, "convolution");
  if (!bias.defined())
    return record_with({x, weight}, [&](Vars v) { return convolution(v[0], v[1], {}, windows, options.groups); });
  return record_with({x, weight, bias}, [&](Vars v) { return convolution(v[0], v[1], v[2], windows, options.groups); });
}

Tensor max_pool(const Tensor& x, const Axes& size, const PoolOptions& options) {
  const int rank = spatial_rank(x, "max_pool");
  const Windows windows =
      windows_of(options.stride.empty() ? size : options.stride, options.padding, options.dilation, rank, "max_pool");
  return record_with({x}, [&](Vars v) { return max_pool(v[0], spread(size, rank, "max_pool: size"), windows); });
}

Tensor avg_pool(const Tensor& x, const Axes& size, const PoolOptions& options) {
  const int rank = spatial_rank(x, "avg_pool");
  const Windows windows =
      windows_of(options.stride.empty() ? size : options.stride, options.padding, options.dilation, rank, "avg_pool");
  return record_with({x},
                     [&](Vars v) { return average_pool(v[0], spread(size, rank, "avg_pool: size"), windows, true); });
}

Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double epsilon) {
  const int axis = need(x, "layer_norm")->type.shape.rank() - need(weight, "layer_norm")->type.shape.rank();
  if (axis < 0) {
    throw Error(Code::invalid_argument,
                "layer_norm: the weight " + weight.shape().str() + " has more axes than x " + x.shape().str());
  }
  return record_with({x, weight, bias}, [&](Vars v) { return layer_norm(v[0], v[1], v[2], axis, epsilon).y; });
}

Tensor batch_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& mean, const Tensor& variance,
                  double epsilon) {
  return record_with({x, mean, variance, weight, bias},
                     [&](Vars v) { return batch_norm_inference(v[0], v[1], v[2], v[3], v[4], epsilon); });
}

BatchNormResult batch_norm_training(const Tensor& x, const Tensor& weight, const Tensor& bias, double epsilon) {
  const Tensor inputs[] = {x, weight, bias};
  std::vector<Tensor> results = client::record_built(
      inputs,
      [](void* context, Graph&, Vars v) -> std::vector<Var> {
        const BatchNorm norm = batch_norm(v[0], v[1], v[2], *static_cast<double*>(context));
        return {norm.y, norm.mean, norm.variance};
      },
      &epsilon);
  return {std::move(results[0]), std::move(results[1]), std::move(results[2])};
}

}  // namespace ml
