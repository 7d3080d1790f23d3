// Shape arithmetic on graphs that are not bound yet. Binding turns each of these into its static form as soon as the
// extents and shape tensors it looks at are known; one that stays is a data-dependent shape.
#include "engine/graph/ops/dynamic.h"

#include <algorithm>
#include <limits>
#include <optional>

#include "engine/graph/build_dynamic.h"
#include "engine/graph/ops/families.h"
#include "engine/graph/ops/movement.h"
#include "engine/graph/ops/rules.h"

namespace ml {
namespace {

using Args = const RuleArguments&;
using Constants = std::span<const ConstantData* const>;

// A shape operand: an i64 vector; answers its length or throws while that is unknown.
std::int64_t want_vector(const InferArguments& a, std::size_t i) {
  if (a.dtype(i) != DType::i64 || a.shape(i).rank() != 1) {
    rules::fail(a, "input " + std::to_string(i) + " wants an i64 vector, got " + rules::text(a.inputs[i]));
  }
  return a.shape(i)[0];
}

Shape unknown_shape(const InferArguments& a, std::int64_t rank) {
  if (rank == kUnknown)
    rules::fail(a, "the rank of its result depends on data", "give the shape operand a fixed length");
  if (rank > kMaxRank)
    rules::fail(a, "its shape operand has " + std::to_string(rank) + " extents, at most 8 are possible");
  Shape shape;
  for (std::int64_t i = 0; i < rank; ++i) shape.append(kUnknown);
  return shape;
}

// What shape operand `i` says, as soon as that is known; an empty one says all it can whatever it is made of.
std::optional<Ints> told(Args a, Constants constants, std::size_t i) {
  if (a.inputs[i].shape() == Shape{0}) return Ints{};
  if (constants[i] == nullptr) return std::nullopt;
  Ints result;
  for (std::int64_t k = 0; k < constants[i]->shape.elements(); ++k) result.push_back(element_as_int(*constants[i], k));
  return result;
}

std::vector<TensorType> infer_shape_of(const InferArguments& a) { return {{DType::i64, Shape{a.shape(0).rank()}}}; }

std::vector<Var> specialize_shape_of(Args a, Constants) {
  const Shape& shape = a.inputs[0].shape();
  if (!shape.known()) return {};
  return {constant(a.graph, make_constant(DType::i64, Shape{shape.rank()}, std::as_bytes(shape.dims())))};
}

std::vector<TensorType> infer_reshape_to(const InferArguments& a) {
  return {{a.dtype(0), unknown_shape(a, want_vector(a, 1))}};
}

std::vector<Var> specialize_reshape_to(Args a, Constants constants) {
  std::optional<Ints> dims = told(a, constants, 1);
  if (!dims) return {};
  auto attributes = std::make_shared<ReshapeAttributes>();
  attributes->dims = std::move(*dims);
  for (std::size_t i = 0; i < attributes->dims.size(); ++i) {
    std::int64_t& extent = attributes->dims[i];
    if (extent < kUnknown) throw Error(Code::invalid_argument, "reshape_to: an extent of " + std::to_string(extent));
    if (extent == 0 && !a.as<ReshapeToAttributes>().allow_zero) extent = reshape_keeps(static_cast<int>(i));
  }
  return {emit("reshape", {a.inputs[0]}, std::move(attributes))};
}

std::vector<TensorType> infer_expand_to(const InferArguments& a) {
  const std::int64_t rank = want_vector(a, 1);
  return {{a.dtype(0), unknown_shape(a, rank == kUnknown ? rank : std::max<std::int64_t>(rank, a.shape(0).rank()))}};
}

std::vector<Var> specialize_expand_to(Args a, Constants constants) {
  const Var x = a.inputs[0];
  const std::optional<Ints> extents = told(a, constants, 1);
  if (!extents) return {};
  const Shape shape = broadcast_shapes(x.shape(), Shape(*extents), "expand_to");
  if (!shape.known()) return {};
  return {broadcast_to(x, shape)};
}

std::vector<TensorType> infer_slice_by(const InferArguments& a) {
  const Ints& axes = a.as<SliceByAttributes>().axes;
  Shape shape = a.shape(0);
  for (std::size_t i = 1; i < 4; ++i) {
    if (!rules::same_extent(want_vector(a, i), static_cast<std::int64_t>(axes.size()))) {
      rules::fail(a, "input " + std::to_string(i) + " wants one value per axis, " + std::to_string(axes.size()) +
                         ", got " + rules::text(a.inputs[i]));
    }
  }
  for (const std::int64_t axis : axes) {
    if (axis < 0 || axis >= shape.rank())
      rules::fail(a, "axis " + std::to_string(axis) + " is outside of " + shape.str());
    shape[static_cast<int>(axis)] = kUnknown;
  }
  return {{a.dtype(0), shape}};
}

// Reading backwards is reading the same elements of the reversed tensor forwards, which needs the extent.
std::vector<Var> specialize_slice_by(Args a, Constants constants) {
  const std::optional<Ints> from = told(a, constants, 1), to = told(a, constants, 2), by = told(a, constants, 3);
  if (!from || !to || !by) return {};
  Var x = a.inputs[0];
  const auto rank = static_cast<std::size_t>(x.rank());
  const Ints& axes = a.as<SliceByAttributes>().axes;
  Ints starts(rank, 0), ends(rank, kSliceToEnd), strides(rank, 1), backwards;
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const auto axis = static_cast<std::size_t>(axes[i]);
    const std::int64_t step = (*by)[i];
    if (step == 0) throw Error(Code::invalid_argument, "slice_by: a step cannot be 0");
    starts[axis] = (*from)[i];
    ends[axis] = (*to)[i];
    strides[axis] = step;
    if (step > 0) continue;
    const std::int64_t extent = x.shape()[static_cast<int>(axis)];
    if (extent == kUnknown) return {};
    // NumPy's rule for negative steps: positions count from the end, then saturate to [-1, extent - 1].
    const auto place = [extent](std::int64_t at) {
      if (at < 0) at = at < -extent ? -1 : at + extent;
      return std::min(at, extent - 1);
    };
    backwards.push_back(axes[i]);
    starts[axis] = extent - 1 - place(starts[axis]);
    ends[axis] = extent - 1 - place(ends[axis]);
    strides[axis] = -std::max(step, -std::numeric_limits<std::int64_t>::max());
  }
  if (!backwards.empty()) x = reverse(x, backwards);
  return {slice(x, starts, ends, strides)};
}

// The extents stay unknown even where all are equal: while the row is there, the graph is not bound.
std::vector<TensorType> infer_transpose_by(const InferArguments& a) {
  const Shape& from = a.shape(0);
  if (!rules::same_extent(want_vector(a, 1), from.rank())) {
    rules::fail(a, "input 1 wants one value per dimension of " + rules::text(a.inputs[0]) + ", got " +
                       rules::text(a.inputs[1]));
  }
  return {{a.dtype(0), unknown_shape(a, from.rank())}};
}

std::vector<Var> specialize_transpose_by(Args a, Constants constants) {
  const Var x = a.inputs[0];
  std::optional<Ints> order = told(a, constants, 1);
  if (!order) return {};
  auto attributes = std::make_shared<TransposeAttributes>();
  attributes->order = std::move(*order);
  for (std::int64_t& axis : attributes->order) axis = normalize_axis(axis, x.rank(), "transpose_by: axis");
  return {emit("transpose", {x}, std::move(attributes))};
}

constexpr Gradient kBindFirst = no_gradient("its shape depends on data; bind the graph first");
double no_flops(const InferArguments&, std::span<const TensorType>) { return 0; }

constexpr Op kOps[] = {
    {.name = "shape_of",
     .kind = OpKind::dynamic,
     .min_inputs = 1,
     .max_inputs = 1,
     .infer = infer_shape_of,
     .gradient = no_gradient("extents are integers"),
     .specialize = specialize_shape_of,
     .flops = no_flops},
    {.name = "reshape_to",
     .kind = OpKind::dynamic,
     .min_inputs = 2,
     .max_inputs = 2,
     .infer = infer_reshape_to,
     .gradient = kBindFirst,
     .make_attributes = attributes_of<ReshapeToAttributes>,
     .specialize = specialize_reshape_to,
     .flops = no_flops},
    {.name = "expand_to",
     .kind = OpKind::dynamic,
     .min_inputs = 2,
     .max_inputs = 2,
     .infer = infer_expand_to,
     .gradient = kBindFirst,
     .specialize = specialize_expand_to,
     .flops = no_flops},
    {.name = "slice_by",
     .kind = OpKind::dynamic,
     .min_inputs = 4,
     .max_inputs = 4,
     .infer = infer_slice_by,
     .gradient = kBindFirst,
     .make_attributes = attributes_of<SliceByAttributes>,
     .specialize = specialize_slice_by,
     .flops = no_flops},
    {.name = "transpose_by",
     .kind = OpKind::dynamic,
     .min_inputs = 2,
     .max_inputs = 2,
     .infer = infer_transpose_by,
     .gradient = kBindFirst,
     .specialize = specialize_transpose_by,
     .flops = no_flops},
};

}  // namespace

std::span<const Op> dynamic_ops() { return kOps; }

Var shape_of(Var x) { return emit("shape_of", {x}); }

Var reshape_to(Var x, Var shape, bool allow_zero) {
  auto attributes = std::make_shared<ReshapeToAttributes>();
  attributes->allow_zero = allow_zero;
  return emit("reshape_to", {x, shape}, std::move(attributes));
}

Var expand_to(Var x, Var shape) { return emit("expand_to", {x, shape}); }

Var slice_by(Var x, Var starts, Var ends, Var steps, Ints axes) {
  auto attributes = std::make_shared<SliceByAttributes>();
  attributes->axes = std::move(axes);
  return emit("slice_by", {x, starts, ends, steps}, std::move(attributes));
}

Var transpose_by(Var x, Var order) { return emit("transpose_by", {x, order}); }

}  // namespace ml
