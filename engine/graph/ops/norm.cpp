// Normalizations: y = (x - mean) * rstd * scale + bias with rstd = 1 / sqrt(variance + epsilon) and the biased
// variance. Ioffe and Szegedy, arXiv 1502.03167; Ba et al., arXiv 1607.06450; Wu and He, arXiv 1803.08494.
//
// They differ only in what is averaged and where the parameters lie. Statistics have the compute dtype (f32 for f16 and
// bf16); scale and bias have that or the dtype of x. Each forward row answers mean and rstd as residuals for its
// gradient row (dy, x, mean, rstd, scale?) -> (dx, dscale, dbias).
#include "engine/graph/ops/norm.h"

#include <utility>

#include "engine/graph/build_nn.h"
#include "engine/graph/ops/differentiate.h"
#include "engine/graph/ops/families.h"
#include "engine/graph/ops/rules.h"

namespace ml {
namespace {

using Args = const RuleArguments&;

// x as the rows that are normalized: reshaped to `shape`, averaged over `averaged`; statistics and parameters broadcast
// against it, and the gradients of parameters are sums over `summed`.
struct View {
  Shape shape;
  Ints averaged, summed;
  Shape statistics;       // of the outputs mean and rstd
  Shape wide_statistics;  // the same, to broadcast
  Shape parameters;
  Shape wide_parameters;
};

// Shape of `shape` with 1 in the `axes`.
Shape kept(const Shape& shape, const Ints& axes) {
  Shape result = shape;
  for (const std::int64_t axis : axes) result[static_cast<int>(axis)] = 1;
  return result;
}

View batch_view(const Shape& x) {
  View view;
  view.shape = x;
  view.averaged.push_back(0);
  for (int axis = 2; axis < x.rank(); ++axis) view.averaged.push_back(axis);
  view.summed = view.averaged;
  view.statistics = view.parameters = Shape{x[1]};
  view.wide_statistics = view.wide_parameters = kept(x, view.averaged);
  return view;
}

View layer_view(const Shape& x, std::int64_t first) {
  View view;
  view.shape = x;
  for (int axis = 0; axis < x.rank(); ++axis) {
    (axis < first ? view.summed : view.averaged).push_back(axis);
    if (axis >= first) view.parameters.append(x[axis]);
  }
  view.statistics = view.wide_statistics = kept(x, view.averaged);
  view.wide_parameters = view.parameters;
  return view;
}

// [N, C, spatial...] as [N, groups, C / groups, positions].
View group_view(const Shape& x, std::int64_t groups) {
  std::int64_t positions = 1;
  for (int axis = 2; axis < x.rank(); ++axis) {
    const bool unknown = x[axis] == kUnknown || positions == kUnknown;
    if (unknown || __builtin_mul_overflow(positions, x[axis], &positions)) positions = kUnknown;
  }
  const std::int64_t channels = x[1] == kUnknown ? kUnknown : x[1] / groups;
  View view;
  view.shape = {x[0], groups, channels, positions};
  view.averaged = {2, 3};
  view.summed = {0, 3};
  view.statistics = {x[0], groups};
  view.wide_statistics = {x[0], groups, 1, 1};
  view.parameters = {x[1]};
  view.wide_parameters = {1, groups, channels, 1};
  return view;
}

// The three norms, for the templates below.
struct Batch {
  using Attributes = BatchNormAttributes;
  static constexpr const char* kGradient = "batch_norm_gradient";
  static constexpr bool kVariance = true;  // (y, mean, variance, rstd) rather than (y, mean, rstd)
  static View view(const Shape& x, const Attributes&) { return batch_view(x); }
  static void check(const InferArguments& a, const Shape& x) {
    if (x.rank() < 2) rules::fail(a, "wants [N, C, ...], got shape " + x.str());
  }
};
struct Layer {
  using Attributes = LayerNormAttributes;
  static constexpr const char* kGradient = "layer_norm_gradient";
  static constexpr bool kVariance = false;
  static View view(const Shape& x, const Attributes& attributes) { return layer_view(x, attributes.axis); }
  static void check(const InferArguments& a, const Shape& x) {
    const std::int64_t axis = a.as<Attributes>().axis;
    if (axis < 0 || axis >= x.rank())
      rules::fail(a, "axis " + std::to_string(axis) + " is outside of shape " + x.str());
  }
};
struct Group {
  using Attributes = GroupNormAttributes;
  static constexpr const char* kGradient = "group_norm_gradient";
  static constexpr bool kVariance = false;
  static View view(const Shape& x, const Attributes& attributes) { return group_view(x, attributes.groups); }
  static void check(const InferArguments& a, const Shape& x) {
    const std::int64_t groups = a.as<Attributes>().groups;
    if (x.rank() < 2) rules::fail(a, "wants [N, C, ...], got shape " + x.str());
    if (groups < 1 || (x[1] != kUnknown && x[1] % groups != 0)) {
      rules::fail(a, std::to_string(x[1]) + " channels do not divide into " + std::to_string(groups) + " groups");
    }
  }
};

DType compute(DType dtype) { return dtype_info(dtype).compute; }

// Scale, bias and given statistics.
void check_operand(const InferArguments& a, std::size_t i, const Shape& shape, DType x, const char* name) {
  if (a.dtype(i) != x && a.dtype(i) != compute(x)) {
    rules::fail(a, std::string(name) + " " + rules::text(a.inputs[i]) + " wants dtype " + std::string(dtype_name(x)) +
                       " or " + std::string(dtype_name(compute(x))));
  }
  if (!rules::same_shape(a.shape(i), shape))
    rules::fail(a, std::string(name) + " " + rules::text(a.inputs[i]) + " wants shape " + shape.str());
}

template <class Norm>
std::vector<TensorType> infer_norm(const InferArguments& a) {
  rules::want_floating(a);
  Norm::check(a, a.shape(0));
  const View view = Norm::view(a.shape(0), a.as<typename Norm::Attributes>());
  for (std::size_t i = 1; i < a.inputs.size(); ++i)
    check_operand(a, i, view.parameters, a.dtype(0), i == 1 ? "scale" : "bias");
  std::vector<TensorType> types{a.inputs[0]};
  types.resize(Norm::kVariance ? 4 : 3, {compute(a.dtype(0)), view.statistics});
  return types;
}

// (dy, x, mean, rstd, scale?) -> (dx, dscale, dbias)
template <class Norm>
std::vector<TensorType> infer_norm_gradient(const InferArguments& a) {
  rules::want_floating(a, 1);
  const Shape& x = a.shape(1);
  Norm::check(a, x);
  const View view = Norm::view(x, a.as<typename Norm::Attributes>());
  if (a.dtype(0) != a.dtype(1) || !rules::same_shape(a.shape(0), x)) {
    rules::fail(a, "the gradient " + rules::text(a.inputs[0]) + " does not have the type of the result " +
                       rules::text(a.inputs[1]));
  }
  check_operand(a, 2, view.statistics, a.dtype(1), "mean");
  check_operand(a, 3, view.statistics, a.dtype(1), "rstd");
  if (a.inputs.size() == 5) check_operand(a, 4, view.parameters, a.dtype(1), "scale");
  const TensorType parameter{a.inputs.size() == 5 ? a.dtype(4) : compute(a.dtype(1)), view.parameters};
  return {a.inputs[1], parameter, parameter};
}

Var wide(Var x, const Shape& shape) { return reshape(cast(x, compute(x.dtype())), shape); }

template <class Norm>
std::vector<Var> decompose_norm(Args a) {
  const auto& attributes = a.as<typename Norm::Attributes>();
  const Var input = a.inputs[0];
  const View view = Norm::view(input.shape(), attributes);
  const Var x = wide(input, view.shape);
  const Var mean = reduce_mean(x, view.averaged, true);
  const Var centered = x - mean;
  const Var variance = reduce_mean(centered * centered, view.averaged, true);
  const Var rstd = rsqrt(variance + attributes.epsilon);
  Var y = centered * rstd;
  if (a.inputs.size() > 1) y = y * wide(a.inputs[1], view.wide_parameters);
  if (a.inputs.size() > 2) y = y + wide(a.inputs[2], view.wide_parameters);
  std::vector<Var> results{cast(reshape(y, input.shape()), input.dtype()), reshape(mean, view.statistics)};
  if (Norm::kVariance) results.push_back(reshape(variance, view.statistics));
  results.push_back(reshape(rstd, view.statistics));
  return results;
}

template <class Norm>
std::vector<Var> decompose_norm_gradient(Args a) {
  const Var input = a.inputs[1];
  const View view = Norm::view(input.shape(), a.as<typename Norm::Attributes>());
  const Var dy = wide(a.inputs[0], view.shape);
  const Var rstd = wide(a.inputs[3], view.wide_statistics);
  const Var normal = (wide(input, view.shape) - wide(a.inputs[2], view.wide_statistics)) * rstd;
  const bool scaled = a.inputs.size() == 5;
  const Var g = scaled ? dy * wide(a.inputs[4], view.wide_parameters) : dy;
  const Var dx =
      rstd * (g - reduce_mean(g, view.averaged, true) - normal * reduce_mean(g * normal, view.averaged, true));
  const DType parameter = scaled ? a.inputs[4].dtype() : compute(input.dtype());
  // An empty list of axes would mean all of them.
  const auto sum = [&view](Var terms) { return view.summed.empty() ? terms : reduce_sum(terms, view.summed); };
  const auto as_parameter = [&](Var total) { return cast(reshape(total, view.parameters), parameter); };
  return {cast(reshape(dx, input.shape()), input.dtype()), as_parameter(sum(dy * normal)), as_parameter(sum(dy))};
}

// dy goes through the gradient row; what comes in through the statistics is added in primitives.
template <class Norm>
std::vector<Var> gradient_norm(Args a) {
  const Var input = a.inputs[0];
  const View view = Norm::view(input.shape(), a.as<typename Norm::Attributes>());
  const std::size_t last = a.outputs.size() - 1;
  const Var mean = a.outputs[1], rstd = a.outputs[last];
  std::vector<Var> results(a.inputs.size());
  if (a.cotangents[0]) {
    std::vector<Var> operands{a.cotangents[0], input, mean, rstd};
    if (a.inputs.size() > 1) operands.push_back(a.inputs[1]);
    const std::vector<Var> parts = emit_all(Norm::kGradient, operands, a.attributes);
    results[0] = parts[0];
    if (a.inputs.size() > 1) results[1] = parts[1];
    if (a.inputs.size() > 2) results[2] = cast(parts[2], a.inputs[2].dtype());
  }
  const auto statistic = [&view](Var x) { return wide(x, view.wide_statistics); };
  double count = 1;
  for (const std::int64_t axis : view.averaged) count *= static_cast<double>(view.shape[static_cast<int>(axis)]);
  const auto centered = [&] { return wide(input, view.shape) - statistic(mean); };
  const auto add_part = [&](Var part) {  // of dx, in the view
    const Var full = reshape(broadcast_to(part, view.shape), input.shape());
    const Var narrow = cast(full, input.dtype());
    results[0] = results[0] ? results[0] + narrow : narrow;
  };
  if (a.cotangents[1]) add_part(statistic(a.cotangents[1]) / count);
  if (Norm::kVariance && a.cotangents[2]) add_part(centered() * statistic(a.cotangents[2]) * (2 / count));
  if (a.cotangents[last]) {
    const Var r = statistic(rstd);
    add_part(neg(centered() * (r * r * r) * statistic(a.cotangents[last]) / count));
  }
  return results;
}

// (x [N, C, ...], mean [C], variance [C], scale [C]?, bias [C]?) -> y
std::vector<TensorType> infer_batch_norm_inference(const InferArguments& a) {
  rules::want_floating(a);
  Batch::check(a, a.shape(0));
  constexpr const char* kNames[] = {"x", "mean", "variance", "scale", "bias"};
  for (std::size_t i = 1; i < a.inputs.size(); ++i) check_operand(a, i, {a.shape(0)[1]}, a.dtype(0), kNames[i]);
  return {a.inputs[0]};
}

std::vector<Var> decompose_batch_norm_inference(Args a) {
  const Var input = a.inputs[0];
  const View view = batch_view(input.shape());
  const auto operand = [&](std::size_t i) { return wide(a.inputs[i], view.wide_parameters); };
  Var factor = rsqrt(operand(2) + a.as<BatchNormAttributes>().epsilon);
  if (a.inputs.size() > 3) factor = factor * operand(3);
  Var y = (cast(input, compute(input.dtype())) - operand(1)) * factor;
  if (a.inputs.size() > 4) y = y + operand(4);
  return {cast(y, input.dtype())};
}

double flops_norm(const InferArguments& a, std::span<const TensorType>) {
  return 8.0 * static_cast<double>(a.shape(0).elements());
}

template <class Norm>
constexpr Op norm(std::string_view name) {
  return {.name = name,
          .kind = OpKind::composite,
          .min_inputs = 1,
          .max_inputs = 3,
          .infer = infer_norm<Norm>,
          .gradient = gradient_by(gradient_norm<Norm>),
          .make_attributes = attributes_of<typename Norm::Attributes>,
          .decompose = decompose_norm<Norm>,
          .flops = flops_norm};
}
template <class Norm>
constexpr Op norm_gradient() {
  return {.name = Norm::kGradient,
          .kind = OpKind::composite,
          .min_inputs = 4,
          .max_inputs = 5,
          .infer = infer_norm_gradient<Norm>,
          .gradient = gradient_of_decomposition<decompose_norm_gradient<Norm>>(),
          .make_attributes = attributes_of<typename Norm::Attributes>,
          .decompose = decompose_norm_gradient<Norm>,
          .flops = flops_norm};
}

const Op kOps[] = {
    norm<Batch>("batch_norm"),
    norm_gradient<Batch>(),
    {.name = "batch_norm_inference",
     .kind = OpKind::composite,
     .min_inputs = 3,
     .max_inputs = 5,
     .infer = infer_batch_norm_inference,
     .gradient = gradient_of_decomposition<decompose_batch_norm_inference>(),
     .make_attributes = attributes_of<BatchNormAttributes>,
     .decompose = decompose_batch_norm_inference,
     .flops = flops_norm},
    norm<Layer>("layer_norm"),
    norm_gradient<Layer>(),
    norm<Group>("group_norm"),
    norm_gradient<Group>(),
};

std::vector<Var> with_optional(std::vector<Var> inputs, Var scale, Var bias, const char* op) {
  if (bias && !scale) throw Error(Code::invalid_argument, std::string(op) + ": a bias needs a scale");
  if (scale) inputs.push_back(scale);
  if (bias) inputs.push_back(bias);
  return inputs;
}

template <class T>
std::shared_ptr<T> with_epsilon(double epsilon) {
  auto attributes = std::make_shared<T>();
  attributes->epsilon = epsilon;
  return attributes;
}

}  // namespace

std::span<const Op> norm_ops() { return kOps; }

BatchNorm batch_norm(Var x, Var scale, Var bias, double epsilon) {
  const std::vector<Var> results =
      emit_all("batch_norm", with_optional({x}, scale, bias, "batch_norm"), with_epsilon<BatchNormAttributes>(epsilon));
  return {results[0], results[1], results[2], results[3]};
}

Var batch_norm_inference(Var x, Var mean, Var variance, Var scale, Var bias, double epsilon) {
  return emit("batch_norm_inference", with_optional({x, mean, variance}, scale, bias, "batch_norm_inference"),
              with_epsilon<BatchNormAttributes>(epsilon));
}

Norm layer_norm(Var x, Var scale, Var bias, std::int64_t axis, double epsilon) {
  auto attributes = with_epsilon<LayerNormAttributes>(epsilon);
  attributes->axis = normalize_axis(axis, x.rank(), "layer_norm: axis");
  const std::vector<Var> results =
      emit_all("layer_norm", with_optional({x}, scale, bias, "layer_norm"), std::move(attributes));
  return {results[0], results[1], results[2]};
}

Norm group_norm(Var x, std::int64_t groups, Var scale, Var bias, double epsilon) {
  auto attributes = with_epsilon<GroupNormAttributes>(epsilon);
  attributes->groups = groups;
  const std::vector<Var> results =
      emit_all("group_norm", with_optional({x}, scale, bias, "group_norm"), std::move(attributes));
  return {results[0], results[1], results[2]};
}

}  // namespace ml
