// Ops whose addresses depend on values: gather and scatter, sorting.
//
// Indices are i32 or i64 and negative ones count from the end; out of range reads zero or drops the write and sets the
// execution's error flag. NaN sorts as the largest value; equal elements keep their order, also in descending sorts.
#include "engine/graph/ops/indexing.h"

#include <cmath>

#include "engine/graph/build.h"
#include "engine/graph/ops/families.h"
#include "engine/graph/ops/movement.h"
#include "engine/graph/ops/rules.h"

namespace ml {
namespace {

using Args = const RuleArguments&;

std::int64_t axis(Args a) { return a.as<AxisAttributes>().axis; }

// x.shape with `axis` replaced by indices.shape.
Shape gathered(const InferArguments& a, std::int64_t along) {
  rules::want_index(a, 1);
  const int axis = rules::axis_of(a, along);
  const Shape &x = a.shape(0), &indices = a.shape(1);
  if (x.rank() - 1 + indices.rank() > kMaxRank) {
    rules::fail(a, "the result of " + indices.str() + " indices into " + x.str() + " has more than 8 dimensions");
  }
  Shape shape;
  for (int i = 0; i < axis; ++i) shape.append(x[i]);
  for (const std::int64_t extent : indices.dims()) shape.append(extent);
  for (int i = axis + 1; i < x.rank(); ++i) shape.append(x[i]);
  return shape;
}

// The shape of the indices, which may be smaller than x in other dimensions than the axis.
Shape gathered_elements(const InferArguments& a, std::int64_t along) {
  rules::want_index(a, 1);
  const int axis = rules::axis_of(a, along);
  const Shape &x = a.shape(0), &indices = a.shape(1);
  bool fits = x.rank() == indices.rank();
  for (int i = 0; fits && i < x.rank(); ++i) {
    fits = i == axis || x[i] == kUnknown || indices[i] == kUnknown || indices[i] <= x[i];
  }
  if (!fits) {
    rules::fail(a,
                "indices of shape " + indices.str() + " do not fit " + x.str() + " along axis " + std::to_string(axis));
  }
  return indices;
}

void want_updates(const InferArguments& a, const Shape& shape) {
  if (a.dtype(2) != a.dtype(0) || !rules::same_shape(a.shape(2), shape)) {
    rules::fail(a, "updates must be " + rules::text({a.dtype(0), shape}) + ", not " + rules::text(a.inputs[2]));
  }
}

template <Shape (*places)(const InferArguments&, std::int64_t axis)>
std::vector<TensorType> infer_gather(const InferArguments& a) {
  return {{a.dtype(0), places(a, a.as<AxisAttributes>().axis)}};
}

// `places` tells the shape of the updates.
template <Shape (*places)(const InferArguments&, std::int64_t axis)>
std::vector<TensorType> infer_scatter(const InferArguments& a) {
  const auto& attributes = a.as<ScatterAttributes>();
  if (attributes.reduction < 0 || attributes.reduction > static_cast<std::int64_t>(Reduction::min))
    rules::fail(a, "there is no reduction " + std::to_string(attributes.reduction));
  if (attributes.reduction != static_cast<std::int64_t>(Reduction::set)) rules::want_numeric(a);
  want_updates(a, places(a, attributes.axis));
  return {a.inputs[0]};
}
std::vector<TensorType> infer_sort(const InferArguments& a) {
  rules::want_numeric(a);
  rules::axis_of(a, a.as<SortAttributes>().axis);
  return {a.inputs[0], {DType::i64, a.shape(0)}};
}
std::vector<TensorType> infer_top_k(const InferArguments& a) {
  rules::want_numeric(a);
  const auto& attributes = a.as<TopKAttributes>();
  const int axis = rules::axis_of(a, attributes.axis);
  Shape shape = a.shape(0);
  if (attributes.k < 0 || (shape[axis] != kUnknown && attributes.k > shape[axis])) {
    rules::fail(a, "k = " + std::to_string(attributes.k) + " is outside of axis " + std::to_string(axis) + " of " +
                       rules::text(a.inputs[0]));
  }
  shape[axis] = attributes.k;
  return {{a.dtype(0), shape}, {DType::i64, shape}};
}

std::vector<Var> decompose_top_k(Args a) {
  const auto& attributes = a.as<TopKAttributes>();
  const auto [values, indices] = sort(a.inputs[0], attributes.axis, attributes.largest);
  Ints ends(values.shape().begin(), values.shape().end());
  for (std::int64_t& end : ends) end = end == kUnknown ? kSliceToEnd : end;
  ends[static_cast<std::size_t>(attributes.axis)] = attributes.k;
  const Ints starts(ends.size(), 0);
  return {slice(values, starts, ends), slice(indices, starts, ends)};
}

double sort_flops(const InferArguments& a, std::span<const TensorType>) {
  const Shape& shape = a.shape(0);
  const auto n = static_cast<double>(shape[static_cast<int>(a.as<SortAttributes>().axis)]);
  return static_cast<double>(shape.elements()) * std::log2(n + 1);
}
double update_flops(const InferArguments& a, std::span<const TensorType>) {
  return static_cast<double>(a.shape(2).elements());
}

// Each value came from where its index says.
template <class T>
std::vector<Var> gradient_of_order(Args a) {
  return {scatter_elements_add(zeros_like(a.inputs[0]), a.outputs[1], a.cotangents[0], a.as<T>().axis)};
}

using Read = Var (*)(Var x, Var indices, std::int64_t axis);
using Write = Var (*)(Var x, Var indices, Var updates, std::int64_t axis, Reduction reduction);

// The product of the other factors of an element, from the product of all that are not zero and the number of zeros.
Var product_of_others(Var factor, Var zeros, Var product) {
  const Var is_zero = eq(factor, 0.0);
  const Var others = product / select(is_zero, scalar(*factor.graph, factor.dtype(), 1), factor);
  return select(eq(zeros, cast(is_zero, factor.dtype())), others, scalar(*factor.graph, factor.dtype(), 0));
}

template <Read read, Write write>
std::vector<Var> gradient_scatter(Args a) {
  const auto& attributes = a.as<ScatterAttributes>();
  const Var x = a.inputs[0], indices = a.inputs[1], updates = a.inputs[2], dy = a.cotangents[0];
  const auto from = [&](Var values) { return read(values, indices, attributes.axis); };
  const auto into = [&](Var values, Var written, Reduction reduction) {
    return write(values, indices, written, attributes.axis, reduction);
  };
  const auto as_number = [&](Var flags) { return cast(flags, x.dtype()); };
  switch (const auto reduction = static_cast<Reduction>(attributes.reduction)) {
    case Reduction::set: {
      // The update that stayed is the one whose number stayed.
      const Var number = reshape(iota(a.graph, DType::i64, {updates.shape().elements()}, 0), updates.shape());
      const Var stayed = from(into(full(a.graph, DType::i64, x.shape(), -1), number, reduction));
      const Var zero = zeros_like(updates);
      return {into(dy, zero, reduction), Var{}, select(eq(stayed, number), from(dy), zero)};
    }
    case Reduction::add: break;
    case Reduction::mul: {
      // First order holds everywhere, second order where no factor is zero.
      const auto nonzero = [&](Var factor) { return select(eq(factor, 0.0), full(a.graph, x.dtype(), {}, 1), factor); };
      const Var zeros = into(as_number(eq(x, 0.0)), as_number(eq(updates, 0.0)), Reduction::add);
      const Var product = into(nonzero(x), nonzero(updates), reduction);
      return {dy * product_of_others(x, zeros, product), Var{},
              from(dy) * product_of_others(updates, from(zeros), from(product))};
    }
    case Reduction::max:
    case Reduction::min: {
      // Where several are the extremum, each takes an equal part.
      const Var takes0 = as_number(eq(x, a.outputs[0])), takes2 = as_number(eq(updates, from(a.outputs[0])));
      const Var part = dy / into(takes0, takes2, Reduction::add);
      return {part * takes0, Var{}, from(part) * takes2};
    }
  }
  return {dy, Var{}, from(dy)};
}

constexpr Op gathering(std::string_view name, InferRule infer, GradientRule gradient) {
  return {.name = name,
          .kind = OpKind::indexed,
          .min_inputs = 2,
          .max_inputs = 2,
          .infer = infer,
          .gradient = gradient_by(gradient),
          .make_attributes = attributes_of<AxisAttributes>,
          .flops = rules::no_flops};
}
constexpr Op scattering(std::string_view name, InferRule infer, GradientRule gradient) {
  return {.name = name,
          .kind = OpKind::indexed,
          .min_inputs = 3,
          .max_inputs = 3,
          .infer = infer,
          .gradient = gradient_by(gradient),
          .make_attributes = attributes_of<ScatterAttributes>,
          .flops = update_flops};
}

const Op kOps[] = {
    gathering("gather", infer_gather<gathered>,
              [](Args a) -> std::vector<Var> {
                return {scatter_add(zeros_like(a.inputs[0]), a.inputs[1], a.cotangents[0], axis(a)), Var{}};
              }),
    scattering("scatter", infer_scatter<gathered>, gradient_scatter<gather, scatter>),
    gathering("gather_elements", infer_gather<gathered_elements>,
              [](Args a) -> std::vector<Var> {
                return {scatter_elements_add(zeros_like(a.inputs[0]), a.inputs[1], a.cotangents[0], axis(a)), Var{}};
              }),
    scattering("scatter_elements", infer_scatter<gathered_elements>,
               gradient_scatter<gather_elements, scatter_elements>),
    {.name = "sort",
     .kind = OpKind::indexed,
     .min_inputs = 1,
     .max_inputs = 1,
     .infer = infer_sort,
     .gradient = gradient_by(gradient_of_order<SortAttributes>),
     .make_attributes = attributes_of<SortAttributes>,
     .flops = sort_flops},
    {.name = "top_k",
     .kind = OpKind::composite,
     .min_inputs = 1,
     .max_inputs = 1,
     .infer = infer_top_k,
     .gradient = gradient_by(gradient_of_order<TopKAttributes>),
     .make_attributes = attributes_of<TopKAttributes>,
     .decompose = decompose_top_k,
     .flops = [](const InferArguments& a,
                 std::span<const TensorType>) { return static_cast<double>(a.shape(0).elements()); }},
};

AttributesPtr along(Var x, std::int64_t axis, const char* what) {
  auto attributes = std::make_shared<AxisAttributes>();
  attributes->axis = normalize_axis(axis, x.rank(), what);
  return attributes;
}

AttributesPtr writing(Var x, std::int64_t axis, Reduction reduction, const char* what) {
  auto attributes = std::make_shared<ScatterAttributes>();
  attributes->axis = normalize_axis(axis, x.rank(), what);
  attributes->reduction = static_cast<std::int64_t>(reduction);
  return attributes;
}

}  // namespace

std::span<const Op> indexing_ops() { return kOps; }

Var gather(Var x, Var indices, std::int64_t axis) {
  return emit("gather", {x, indices}, along(x, axis, "gather: axis"));
}
Var scatter(Var x, Var indices, Var updates, std::int64_t axis, Reduction reduction) {
  return emit("scatter", {x, indices, updates}, writing(x, axis, reduction, "scatter: axis"));
}
Var scatter_add(Var x, Var indices, Var updates, std::int64_t axis) {
  return scatter(x, indices, updates, axis, Reduction::add);
}
Var gather_elements(Var x, Var indices, std::int64_t axis) {
  return emit("gather_elements", {x, indices}, along(x, axis, "gather_elements: axis"));
}
Var scatter_elements(Var x, Var indices, Var updates, std::int64_t axis, Reduction reduction) {
  return emit("scatter_elements", {x, indices, updates}, writing(x, axis, reduction, "scatter_elements: axis"));
}
Var scatter_elements_add(Var x, Var indices, Var updates, std::int64_t axis) {
  return scatter_elements(x, indices, updates, axis, Reduction::add);
}

std::pair<Var, Var> sort(Var x, std::int64_t axis, bool descending) {
  auto attributes = std::make_shared<SortAttributes>();
  attributes->axis = normalize_axis(axis, x.rank(), "sort: axis");
  attributes->descending = descending;
  const std::vector<Var> results = emit_all("sort", {x}, std::move(attributes));
  return {results[0], results[1]};
}

std::pair<Var, Var> top_k(Var x, std::int64_t k, std::int64_t axis, bool largest) {
  auto attributes = std::make_shared<TopKAttributes>();
  attributes->k = k;
  attributes->axis = normalize_axis(axis, x.rank(), "top_k: axis");
  attributes->largest = largest;
  const std::vector<Var> results = emit_all("top_k", {x}, std::move(attributes));
  return {results[0], results[1]};
}

}  // namespace ml
