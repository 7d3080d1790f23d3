// Reductions and cumulative sums.
//
// Results keep the dtype; integers wrap, f16 and bf16 accumulate in f32 at least and round once. Over no elements a sum
// is 0, a product 1, a maximum the lowest value and a minimum the highest (infinite for floats), a mean NaN. NaN wins
// reduce_max, reduce_min, argmax and argmin.
#include "engine/graph/ops/reduce.h"

#include <algorithm>

#include "engine/graph/build.h"
#include "engine/graph/ops/families.h"
#include "engine/graph/ops/rules.h"
#include "ml/error.h"

namespace ml {
namespace {

using Args = const RuleArguments&;

// The shape after folding `axes` away; with keep_dims they become 1.
Shape reduced(const Shape& shape, std::span<const std::int64_t> axes, bool keep_dims) {
  Shape result;
  for (int i = 0; i < shape.rank(); ++i) {
    if (std::ranges::find(axes, i) == axes.end()) {
      result.append(shape[i]);
    } else if (keep_dims) {
      result.append(1);
    }
  }
  return result;
}

std::vector<TensorType> infer_reduce(const InferArguments& a) {
  const auto& attributes = a.as<ReduceAttributes>();
  rules::want_numeric(a);
  for (std::size_t i = 0; i < attributes.axes.size(); ++i) {
    rules::axis_of(a, attributes.axes[i]);
    if (i > 0 && attributes.axes[i] <= attributes.axes[i - 1]) rules::fail(a, "axes must be sorted and unique");
  }
  return {{a.dtype(0), reduced(a.shape(0), attributes.axes, attributes.keep_dims)}};
}
std::vector<TensorType> infer_mean(const InferArguments& a) {
  rules::want_floating(a);
  return infer_reduce(a);
}
std::vector<TensorType> infer_arg(const InferArguments& a) {
  const auto& attributes = a.as<ArgReduceAttributes>();
  rules::want_numeric(a);
  const int axis = rules::axis_of(a, attributes.axis);
  if (a.shape(0)[axis] == 0) {
    rules::fail(a, "axis " + std::to_string(axis) + " of " + rules::text(a.inputs[0]) + " has no elements");
  }
  return {{DType::i64, reduced(a.shape(0), std::span(&attributes.axis, 1), attributes.keep_dims)}};
}
std::vector<TensorType> infer_cumsum(const InferArguments& a) {
  rules::want_numeric(a);
  rules::axis_of(a, a.as<CumsumAttributes>().axis);
  return {a.inputs[0]};
}

// A value of the reduced shape, back in the shape of the input: the folded axes are 1 and then repeated.
Var unreduce(Args a, Var value) {
  const Shape& shape = a.inputs[0].shape();
  return broadcast_to(reshape(value, reduced(shape, a.as<ReduceAttributes>().axes, true)), shape);
}

double count(Args a) {
  double elements = 1;
  for (const std::int64_t axis : a.as<ReduceAttributes>().axes) {
    elements *= static_cast<double>(a.inputs[0].shape()[static_cast<int>(axis)]);
  }
  return elements;
}

// Where several elements are the extremum, each takes an equal part of the cotangent.
std::vector<Var> gradient_extremum(Args a) {
  const Var x = a.inputs[0];
  const Var takes = cast(eq(x, unreduce(a, a.outputs[0])), x.dtype());
  const Var ties = emit("reduce_sum", {takes}, a.attributes);
  return {mul(unreduce(a, div(a.cotangents[0], ties)), takes)};
}

// Products along the last axis of everything before (or after) each element, in log2(n) doubling steps. Nothing is
// divided, so that zeros and derivatives of every order are right.
Var products_of_others(Var x, bool after) {
  const auto last = static_cast<std::size_t>(x.rank()) - 1;
  const std::int64_t n = x.shape().at(-1);
  const auto shift = [&](Var value, std::int64_t by) {
    Ints starts(last + 1, 0), ends(value.shape().begin(), value.shape().end()), low(last + 1, 0), high(last + 1, 0);
    (after ? starts[last] : ends[last]) = after ? by : n - by;
    (after ? high : low)[last] = by;
    return pad(slice(value, starts, ends), low, high, 1);
  };
  Var product = shift(x, 1);
  for (std::int64_t step = 1; step < n; step *= 2) product = mul(product, shift(product, step));
  return product;
}

// The derivative of a product by one factor is the product of the others.
std::vector<Var> gradient_prod(Args a) {
  const Var x = a.inputs[0];
  const Ints& axes = a.as<ReduceAttributes>().axes;
  if (axes.empty() || x.shape().elements() == 0) return {unreduce(a, a.cotangents[0])};
  // The folded axes last and as one.
  Ints order;
  for (int i = 0; i < x.rank(); ++i) {
    if (std::ranges::find(axes, i) == axes.end()) order.push_back(i);
  }
  Shape rows;
  for (const std::int64_t axis : order) rows.append(x.shape()[static_cast<int>(axis)]);
  rows.append(kUnknown);
  order.insert(order.end(), axes.begin(), axes.end());
  const Var moved = transpose(x, order);
  const Var flat = reshape(moved, rows);
  const Var others = reshape(mul(products_of_others(flat, false), products_of_others(flat, true)), moved.shape());
  Ints inverse(order.size());
  for (std::size_t i = 0; i < order.size(); ++i) inverse[static_cast<std::size_t>(order[i])] = static_cast<int>(i);
  return {mul(unreduce(a, a.cotangents[0]), transpose(others, inverse))};
}

// Sums in the compute type: a sum of many f16 would overflow long before its mean does.
std::vector<Var> decompose_mean(Args a) {
  const Var x = a.inputs[0];
  const Var sum = emit("reduce_sum", {cast(x, dtype_info(x.dtype()).compute)}, a.attributes);
  return {cast(div(sum, count(a)), x.dtype())};
}

std::vector<Var> gradient_cumsum(Args a) {
  const auto& attributes = a.as<CumsumAttributes>();
  return {cumsum(a.cotangents[0], attributes.axis, attributes.exclusive, !attributes.reverse)};
}

double one_flop_per_input(const InferArguments& a, std::span<const TensorType>) {
  return static_cast<double>(a.shape(0).elements());
}

constexpr Op reduction(std::string_view name, GradientRule gradient) {
  return {.name = name,
          .kind = OpKind::reduction,
          .min_inputs = 1,
          .max_inputs = 1,
          .infer = infer_reduce,
          .gradient = gradient_by(gradient),
          .make_attributes = attributes_of<ReduceAttributes>,
          .flops = one_flop_per_input};
}
constexpr Op arg_reduction(std::string_view name) {
  return {.name = name,
          .kind = OpKind::indexed,
          .min_inputs = 1,
          .max_inputs = 1,
          .infer = infer_arg,
          .gradient = no_gradient("its result is an index"),
          .make_attributes = attributes_of<ArgReduceAttributes>,
          .flops = one_flop_per_input};
}

const Op kOps[] = {
    reduction("reduce_sum", [](Args a) -> std::vector<Var> { return {unreduce(a, a.cotangents[0])}; }),
    reduction("reduce_prod", gradient_prod),
    reduction("reduce_max", gradient_extremum),
    reduction("reduce_min", gradient_extremum),
    {.name = "reduce_mean",
     .kind = OpKind::composite,
     .min_inputs = 1,
     .max_inputs = 1,
     .infer = infer_mean,
     .gradient = gradient_by([](Args a) -> std::vector<Var> { return {unreduce(a, div(a.cotangents[0], count(a)))}; }),
     .make_attributes = attributes_of<ReduceAttributes>,
     .decompose = decompose_mean,
     .flops = one_flop_per_input},
    arg_reduction("argmax"),
    arg_reduction("argmin"),
    {.name = "cumsum",
     .kind = OpKind::indexed,
     .min_inputs = 1,
     .max_inputs = 1,
     .infer = infer_cumsum,
     .gradient = gradient_by(gradient_cumsum),
     .make_attributes = attributes_of<CumsumAttributes>},
};

Var reduce(std::string_view name, Var x, Ints axes, bool keep_dims) {
  const std::string what = std::string(name) + ": axis";
  auto attributes = std::make_shared<ReduceAttributes>();
  if (axes.empty()) {
    for (int i = 0; i < x.rank(); ++i) axes.push_back(i);
  }
  for (const std::int64_t axis : axes) attributes->axes.push_back(normalize_axis(axis, x.rank(), what.c_str()));
  std::ranges::sort(attributes->axes);
  attributes->keep_dims = keep_dims;
  return emit(name, {x}, std::move(attributes));
}

Var arg_reduce(std::string_view name, Var x, std::int64_t axis, bool keep_dims) {
  const std::string what = std::string(name) + ": axis";
  auto attributes = std::make_shared<ArgReduceAttributes>();
  attributes->axis = normalize_axis(axis, x.rank(), what.c_str());
  attributes->keep_dims = keep_dims;
  return emit(name, {x}, std::move(attributes));
}

}  // namespace

std::span<const Op> reduce_ops() { return kOps; }

Var reduce_sum(Var x, Ints axes, bool keep_dims) { return reduce("reduce_sum", x, std::move(axes), keep_dims); }
Var reduce_mean(Var x, Ints axes, bool keep_dims) { return reduce("reduce_mean", x, std::move(axes), keep_dims); }
Var reduce_prod(Var x, Ints axes, bool keep_dims) { return reduce("reduce_prod", x, std::move(axes), keep_dims); }
Var reduce_max(Var x, Ints axes, bool keep_dims) { return reduce("reduce_max", x, std::move(axes), keep_dims); }
Var reduce_min(Var x, Ints axes, bool keep_dims) { return reduce("reduce_min", x, std::move(axes), keep_dims); }
Var argmax(Var x, std::int64_t axis, bool keep_dims) { return arg_reduce("argmax", x, axis, keep_dims); }
Var argmin(Var x, std::int64_t axis, bool keep_dims) { return arg_reduce("argmin", x, axis, keep_dims); }

Var cumsum(Var x, std::int64_t axis, bool exclusive, bool reverse) {
  auto attributes = std::make_shared<CumsumAttributes>();
  attributes->axis = normalize_axis(axis, x.rank(), "cumsum: axis");
  attributes->exclusive = exclusive;
  attributes->reverse = reverse;
  return emit("cumsum", {x}, std::move(attributes));
}

Var sum_to(Var x, const Shape& shape) {
  if (x.shape() == shape) return x;
  const int leading = x.rank() - shape.rank();
  const auto refuse = [&] {
    throw Error(Code::invalid_argument, "sum_to: " + shape.str() + " does not broadcast to " + x.shape().str());
  };
  if (leading < 0) refuse();
  Ints axes;
  for (int i = 0; i < x.rank(); ++i) {
    const std::int64_t wanted = i < leading ? 1 : shape[i - leading];
    if (i < leading || (wanted == 1 && x.shape()[i] != 1)) {
      axes.push_back(i);
    } else if (!rules::same_extent(wanted, x.shape()[i])) {
      refuse();
    }
  }
  if (!axes.empty()) x = reduce_sum(x, axes);
  return x.shape() == shape ? x : reshape(x, shape);
}

}  // namespace ml
