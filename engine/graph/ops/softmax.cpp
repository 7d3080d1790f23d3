// Softmax, its logarithm, and the cross-entropy of classes. Numerically safe: the largest logit is subtracted first.
// f16 and bf16 compute in f32 and round once.
#include "engine/graph/build_nn.h"
#include "engine/graph/ops/families.h"
#include "engine/graph/ops/rules.h"

namespace ml {
namespace {

using Args = const RuleArguments&;

Var widened(Var x) { return cast(x, dtype_info(x.dtype()).compute); }

std::vector<TensorType> infer_softmax(const InferArguments& a) {
  rules::want_floating(a);
  rules::axis_of(a, a.as<AxisAttributes>().axis);
  return {a.inputs[0]};
}

// x less its largest element along the axis.
Var centered(Var x, std::int64_t axis) { return x - reduce_max(x, {axis}, true); }

std::vector<Var> decompose_softmax(Args a) {
  const std::int64_t axis = a.as<AxisAttributes>().axis;
  const Var e = exp(centered(widened(a.inputs[0]), axis));
  return {cast(e / reduce_sum(e, {axis}, true), a.inputs[0].dtype())};
}

std::vector<Var> decompose_log_softmax(Args a) {
  const std::int64_t axis = a.as<AxisAttributes>().axis;
  const Var x = centered(widened(a.inputs[0]), axis);
  return {cast(x - log(reduce_sum(exp(x), {axis}, true)), a.inputs[0].dtype())};
}

// dx = y (dy - sum(dy y)).
std::vector<Var> gradient_softmax(Args a) {
  const Var y = a.outputs[0], dy = a.cotangents[0];
  return {y * (dy - reduce_sum(dy * y, {a.as<AxisAttributes>().axis}, true))};
}

// dx = dy - softmax(x) sum(dy).
std::vector<Var> gradient_log_softmax(Args a) {
  const Var dy = a.cotangents[0];
  return {dy - exp(a.outputs[0]) * reduce_sum(dy, {a.as<AxisAttributes>().axis}, true)};
}

// (logits [..., C], labels [...]) -> (loss [...], log-sum-exp [...] in the compute dtype)
std::vector<TensorType> infer_cross_entropy(const InferArguments& a) {
  rules::want_floating(a);
  rules::want_index(a, 1);
  const Shape& logits = a.shape(0);
  if (logits.rank() == 0) rules::fail(a, "logits want a class dimension, got " + rules::text(a.inputs[0]));
  Shape examples(logits.dims().first(static_cast<std::size_t>(logits.rank() - 1)));
  if (!rules::same_shape(examples, a.shape(1))) {
    rules::fail(
        a,
        "labels " + a.shape(1).str() + " do not fit logits " + logits.str() + ", whose last dimension is the classes",
        "give one label for each example");
  }
  return {{a.dtype(0), examples}, {dtype_info(a.dtype(0)).compute, examples}};
}

std::vector<Var> decompose_cross_entropy(Args a) {
  const std::int64_t axis = a.inputs[0].rank() - 1;
  const Var logits = widened(a.inputs[0]), labels = a.inputs[1];
  const Var largest = reduce_max(logits, {axis}, true);
  const Var x = logits - largest;
  const Var log_sum = squeeze(log(reduce_sum(exp(x), {axis}, true)), {axis});
  // Gathering counts negative indices from the end; as labels they are as wrong as those past the last class.
  const Var classes = scalar(a.graph, labels.dtype(), static_cast<double>(logits.shape()[static_cast<int>(axis)]));
  const Var checked = select(lt(labels, 0.0), classes, labels);
  const Var chosen = squeeze(gather_elements(x, unsqueeze(checked, {axis}), axis), {axis});
  return {cast(log_sum - chosen, a.inputs[0].dtype()), log_sum + squeeze(largest, {axis})};
}

// With p = softmax(logits): dlogits = p (dloss + dlse) - dloss at the label.
std::vector<Var> gradient_cross_entropy(Args a) {
  const Var logits = widened(a.inputs[0]), labels = a.inputs[1];
  const int axis = logits.rank() - 1;
  const auto per_class = [axis](Var each) { return unsqueeze(each, {axis}); };
  const Var dloss = a.cotangents[0] ? widened(a.cotangents[0]) : Var{}, dlse = a.cotangents[1];
  const Var p = exp(logits - per_class(a.outputs[1]));
  Var dlogits = p * per_class(dloss && dlse ? dloss + dlse : dloss ? dloss : dlse);
  if (dloss) {
    const Var number = iota(a.graph, labels.dtype(), Shape{logits.shape()[axis]}, 0);
    const Var zero = scalar(a.graph, logits.dtype(), 0);
    dlogits = dlogits - select(eq(number, per_class(labels)), per_class(dloss), zero);
  }
  return {cast(dlogits, a.inputs[0].dtype()), Var{}};
}

double flops(const InferArguments& a, std::span<const TensorType>) {
  return 14.0 * static_cast<double>(a.shape(0).elements());
}

const Op kOps[] = {
    {.name = "softmax",
     .kind = OpKind::composite,
     .min_inputs = 1,
     .max_inputs = 1,
     .infer = infer_softmax,
     .gradient = gradient_by(gradient_softmax),
     .make_attributes = attributes_of<AxisAttributes>,
     .decompose = decompose_softmax,
     .flops = flops},
    {.name = "log_softmax",
     .kind = OpKind::composite,
     .min_inputs = 1,
     .max_inputs = 1,
     .infer = infer_softmax,
     .gradient = gradient_by(gradient_log_softmax),
     .make_attributes = attributes_of<AxisAttributes>,
     .decompose = decompose_log_softmax,
     .flops = flops},
    {.name = "cross_entropy",
     .kind = OpKind::composite,
     .min_inputs = 2,
     .max_inputs = 2,
     .infer = infer_cross_entropy,
     .gradient = gradient_by(gradient_cross_entropy),
     .decompose = decompose_cross_entropy,
     .flops = flops},
};

AttributesPtr axis_attributes(Var x, std::int64_t axis, const char* op) {
  auto attributes = std::make_shared<AxisAttributes>();
  attributes->axis = normalize_axis(axis, x.rank(), op);
  return attributes;
}

}  // namespace

std::span<const Op> softmax_ops() { return kOps; }

Var softmax(Var x, std::int64_t axis) { return emit("softmax", {x}, axis_attributes(x, axis, "softmax: axis")); }

Var log_softmax(Var x, std::int64_t axis) {
  return emit("log_softmax", {x}, axis_attributes(x, axis, "log_softmax: axis"));
}

CrossEntropy cross_entropy(Var logits, Var labels) {
  const std::vector<Var> results = emit_all("cross_entropy", {logits, labels});
  return {results[0], results[1]};
}

}  // namespace ml
