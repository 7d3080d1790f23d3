// Convolution (the cross-correlation of the field) over one to three spatial dimensions and its two gradients. All
// three are linear in each operand and each other's gradients, so they are closed under differentiation.
//
// x [N, C, spatial...], weight [O, C / groups, window...], bias [O] -> y [N, O, counts...].
#include "engine/graph/ops/convolution.h"

#include "engine/graph/build_nn.h"
#include "engine/graph/ops/families.h"

namespace ml {
namespace {

using Args = const RuleArguments&;

int spatial_rank(const InferArguments& a, std::size_t input, const char* what) {
  const int rank = a.shape(input).rank();
  if (rank < 3 || rank > 5) {
    rules::fail(a, std::string(what) + " wants 1 to 3 spatial dimensions after the first two, got " +
                       rules::text(a.inputs[input]));
  }
  return rank - 2;
}

void check_ranks(const InferArguments& a) {
  if (a.shape(0).rank() != a.shape(1).rank())
    rules::fail(a, "ranks differ: " + rules::text(a.inputs[0]) + " and " + rules::text(a.inputs[1]));
}

void check_groups(const InferArguments& a, std::int64_t groups, std::int64_t out_channels) {
  if (groups < 1) rules::fail(a, "groups cannot be " + std::to_string(groups));
  if (out_channels != kUnknown && out_channels % groups != 0) {
    rules::fail(
        a, std::to_string(out_channels) + " output channels do not divide into " + std::to_string(groups) + " groups");
  }
}

std::int64_t scaled(const InferArguments& a, std::int64_t extent, std::int64_t groups) {
  std::int64_t product = 0;
  if (extent == kUnknown) return kUnknown;
  if (__builtin_mul_overflow(extent, groups, &product)) rules::fail(a, "has too many channels");
  return product;
}

std::vector<TensorType> infer_convolution(const InferArguments& a) {
  const auto& attributes = a.as<ConvolutionAttributes>();
  rules::want(a, is_differentiable(a.dtype(0)) || a.dtype(0) == DType::i32, 0, "a floating dtype or i32");
  rules::same_dtypes(a);
  const int spatial = spatial_rank(a, 0, "its input");
  check_ranks(a);
  rules::check_windows(a, attributes.windows, spatial);
  const Shape& x = a.shape(0);
  const Shape& weight = a.shape(1);
  check_groups(a, attributes.groups, weight[0]);
  if (!rules::same_extent(x[1], scaled(a, weight[1], attributes.groups))) {
    rules::fail(a, "input " + x.str() + " has " + std::to_string(x[1]) + " channels, weights " + weight.str() +
                       " want " + std::to_string(weight[1]) + " in each of " + std::to_string(attributes.groups) +
                       " groups");
  }
  if (a.inputs.size() == 3 && !rules::same_shape(a.shape(2), {weight[0]})) {
    rules::fail(a, "bias " + a.shape(2).str() + " does not have one element for each of " + std::to_string(weight[0]) +
                       " output channels");
  }
  Shape y{x[0], weight[0]};
  for (int d = 0; d < spatial; ++d) y.append(rules::window_count(a, attributes.windows, d, x[d + 2], weight[d + 2]));
  return {{a.dtype(0), y}};
}

void check_counts(const InferArguments& a, std::size_t input, const Shape& expected) {
  if (!rules::same_shape(a.shape(input), expected)) {
    rules::fail(a, "the gradient " + a.shape(input).str() + " does not have the shape of the result " + expected.str());
  }
}

void check_extents(const InferArguments& a, const Ints& extents, int spatial) {
  if (extents.size() != static_cast<std::size_t>(spatial)) {
    rules::fail(a, "extents has " + std::to_string(extents.size()) + " entries for " + std::to_string(spatial) +
                       " spatial dimensions");
  }
  for (const std::int64_t extent : extents) {
    if (extent < 0) rules::fail(a, "extents cannot be " + std::to_string(extent), "bind the shapes first");
  }
}

// (dy [N, O, counts...], weight [O, C / groups, window...]) -> dx [N, C, extents...]
std::vector<TensorType> infer_input_gradient(const InferArguments& a) {
  const auto& attributes = a.as<ConvolutionGradientAttributes>();
  rules::want_floating(a);
  rules::same_dtypes(a);
  const int spatial = spatial_rank(a, 0, "the gradient");
  check_ranks(a);
  rules::check_windows(a, attributes.windows, spatial);
  check_extents(a, attributes.extents, spatial);
  const Shape& weight = a.shape(1);
  check_groups(a, attributes.groups, weight[0]);
  Shape dy{a.shape(0)[0], weight[0]};
  Shape dx{a.shape(0)[0], scaled(a, weight[1], attributes.groups)};
  for (int d = 0; d < spatial; ++d) {
    const std::int64_t extent = attributes.extents[static_cast<std::size_t>(d)];
    dx.append(extent);
    dy.append(rules::window_count(a, attributes.windows, d, extent, weight[d + 2]));
  }
  check_counts(a, 0, dy);
  return {{a.dtype(0), dx}};
}

// (x [N, C, spatial...], dy [N, O, counts...]) -> dweight [O, C / groups, extents...]
std::vector<TensorType> infer_weight_gradient(const InferArguments& a) {
  const auto& attributes = a.as<ConvolutionGradientAttributes>();
  rules::want_floating(a);
  rules::same_dtypes(a);
  const int spatial = spatial_rank(a, 0, "its input");
  check_ranks(a);
  rules::check_windows(a, attributes.windows, spatial);
  check_extents(a, attributes.extents, spatial);
  const Shape& x = a.shape(0);
  check_groups(a, attributes.groups, a.shape(1)[1]);
  if (x[1] != kUnknown && x[1] % attributes.groups != 0) {
    rules::fail(a, std::to_string(x[1]) + " input channels do not divide into " + std::to_string(attributes.groups) +
                       " groups");
  }
  Shape dy{x[0], a.shape(1)[1]};
  Shape weight{a.shape(1)[1], x[1] == kUnknown ? kUnknown : x[1] / attributes.groups};
  for (int d = 0; d < spatial; ++d) {
    const std::int64_t extent = attributes.extents[static_cast<std::size_t>(d)];
    weight.append(extent);
    dy.append(rules::window_count(a, attributes.windows, d, x[d + 2], extent));
  }
  check_counts(a, 1, dy);
  return {{a.dtype(0), weight}};
}

Ints spatial_extents(Var x) {
  const std::span<const std::int64_t> dims = x.shape().dims().subspan(2);
  return {dims.begin(), dims.end()};
}

std::vector<Var> gradient_convolution(Args a) {
  const auto& attributes = a.as<ConvolutionAttributes>();
  const Var x = a.inputs[0], weight = a.inputs[1], dy = a.cotangents[0];
  std::vector<Var> gradients{
      convolution_input_gradient(dy, weight, attributes.windows, attributes.groups, spatial_extents(x)),
      convolution_weight_gradient(x, dy, attributes.windows, attributes.groups, spatial_extents(weight))};
  if (a.inputs.size() == 3) {
    Ints axes{0};
    for (int axis = 2; axis < dy.rank(); ++axis) axes.push_back(axis);
    gradients.push_back(reduce_sum(dy, axes));
  }
  return gradients;
}

// <c, input_gradient(dy, w)> = <convolution(c, w), dy>.
std::vector<Var> gradient_input_gradient(Args a) {
  const auto& attributes = a.as<ConvolutionGradientAttributes>();
  const Var dy = a.inputs[0], weight = a.inputs[1], c = a.cotangents[0];
  return {convolution(c, weight, {}, attributes.windows, attributes.groups),
          convolution_weight_gradient(c, dy, attributes.windows, attributes.groups, spatial_extents(weight))};
}

// <c, weight_gradient(x, dy)> = <convolution(x, c), dy>.
std::vector<Var> gradient_weight_gradient(Args a) {
  const auto& attributes = a.as<ConvolutionGradientAttributes>();
  const Var x = a.inputs[0], dy = a.inputs[1], c = a.cotangents[0];
  return {convolution_input_gradient(dy, c, attributes.windows, attributes.groups, spatial_extents(x)),
          convolution(x, c, {}, attributes.windows, attributes.groups)};
}

// Two for each element of y and each weight that it sees: weight elements / O.
double products(const Shape& y, const Shape& weight) {
  if (weight[0] == 0) return 0;
  return 2.0 * static_cast<double>(y.elements()) * static_cast<double>(weight.elements()) /
         static_cast<double>(weight[0]);
}
double flops_convolution(const InferArguments& a, std::span<const TensorType> outputs) {
  const double bias = a.inputs.size() == 3 ? static_cast<double>(outputs[0].shape.elements()) : 0;
  return products(outputs[0].shape, a.shape(1)) + bias;
}

const Op kOps[] = {
    {.name = "convolution",
     .kind = OpKind::contraction,
     .min_inputs = 2,
     .max_inputs = 3,
     .infer = infer_convolution,
     .gradient = gradient_by(gradient_convolution),
     .make_attributes = attributes_of<ConvolutionAttributes>,
     .flops = flops_convolution},
    {.name = "convolution_input_gradient",
     .kind = OpKind::contraction,
     .min_inputs = 2,
     .max_inputs = 2,
     .infer = infer_input_gradient,
     .gradient = gradient_by(gradient_input_gradient),
     .make_attributes = attributes_of<ConvolutionGradientAttributes>,
     .flops = [](const InferArguments& a, std::span<const TensorType>) { return products(a.shape(0), a.shape(1)); }},
    {.name = "convolution_weight_gradient",
     .kind = OpKind::contraction,
     .min_inputs = 2,
     .max_inputs = 2,
     .infer = infer_weight_gradient,
     .gradient = gradient_by(gradient_weight_gradient),
     .make_attributes = attributes_of<ConvolutionGradientAttributes>,
     .flops = [](const InferArguments& a,
                 std::span<const TensorType> outputs) { return products(a.shape(1), outputs[0].shape); }},
};

AttributesPtr gradient_attributes(Windows windows, std::int64_t groups, Ints extents) {
  auto attributes = std::make_shared<ConvolutionGradientAttributes>();
  attributes->windows = std::move(windows);
  attributes->groups = groups;
  attributes->extents = std::move(extents);
  return attributes;
}

}  // namespace

std::span<const Op> convolution_ops() { return kOps; }

Var convolution(Var x, Var weight, Var bias, Windows windows, std::int64_t groups) {
  auto attributes = std::make_shared<ConvolutionAttributes>();
  attributes->windows = std::move(windows);
  attributes->groups = groups;
  std::vector<Var> inputs{x, weight};
  if (bias) inputs.push_back(bias);
  return emit("convolution", inputs, std::move(attributes));
}

Var convolution_input_gradient(Var dy, Var weight, Windows windows, std::int64_t groups, Ints extents) {
  return emit("convolution_input_gradient", {dy, weight},
              gradient_attributes(std::move(windows), groups, std::move(extents)));
}

Var convolution_weight_gradient(Var x, Var dy, Windows windows, std::int64_t groups, Ints extents) {
  return emit("convolution_weight_gradient", {x, dy},
              gradient_attributes(std::move(windows), groups, std::move(extents)));
}

}  // namespace ml
