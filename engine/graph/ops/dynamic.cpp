// Shape arithmetic on graphs that are not bound yet. Binding turns each of these into its static form as soon as the
// extents and shape tensors it looks at are known; one that stays is a data-dependent shape.
#include "engine/graph/ops/dynamic.h"

#include <algorithm>
#include <limits>

#include "engine/graph/build_dynamic.h"
#include "engine/graph/ops/families.h"
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

Ints values(const ConstantData& constant) {
  Ints result;
  for (std::int64_t i = 0; i < constant.shape.elements(); ++i) result.push_back(element_as_int(constant, i));
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
  const Var x = a.inputs[0];
  if (constants[1] == nullptr || !x.shape().known()) return {};
  Ints wanted = values(*constants[1]);
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (wanted[i] != 0 || a.as<ReshapeToAttributes>().allow_zero) continue;
    if (i >= static_cast<std::size_t>(x.rank())) {
      throw Error(Code::invalid_argument, "reshape_to: extent " + std::to_string(i) +
                                              " is to stay as before, but the input is " + x.shape().str());
    }
    wanted[i] = x.shape()[static_cast<int>(i)];
  }
  return {reshape(x, Shape(wanted))};
}

std::vector<TensorType> infer_expand_to(const InferArguments& a) {
  const std::int64_t rank = want_vector(a, 1);
  return {{a.dtype(0), unknown_shape(a, rank == kUnknown ? rank : std::max<std::int64_t>(rank, a.shape(0).rank()))}};
}

std::vector<Var> specialize_expand_to(Args a, Constants constants) {
  const Var x = a.inputs[0];
  if (constants[1] == nullptr || !x.shape().known()) return {};
  return {broadcast_to(x, broadcast_shapes(x.shape(), Shape(values(*constants[1])), "expand_to"))};
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

std::vector<Var> specialize_slice_by(Args a, Constants constants) {
  Var x = a.inputs[0];
  if (!x.shape().known() || std::find(constants.begin() + 1, constants.end(), nullptr) != constants.end()) return {};
  const Ints& axes = a.as<SliceByAttributes>().axes;
  const Ints from = values(*constants[1]), to = values(*constants[2]), by = values(*constants[3]);
  Ints starts(static_cast<std::size_t>(x.rank()), 0), steps(static_cast<std::size_t>(x.rank()), 1), flipped;
  Ints ends(x.shape().begin(), x.shape().end());
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const auto axis = static_cast<std::size_t>(axes[i]);
    const std::int64_t extent = x.shape()[static_cast<int>(axis)];
    const std::int64_t step = by[i];
    if (step == 0) throw Error(Code::invalid_argument, "slice_by: a step cannot be 0");
    const auto place = [extent, step](std::int64_t index) {
      // Saturates before adding, so that the usual "to the end" markers near the limits of i64 do not overflow.
      if (index < 0)
        index = index < -extent ? -1 : index + extent;
      else if (index > extent)
        index = extent;
      return step > 0 ? std::clamp<std::int64_t>(index, 0, extent) : std::clamp<std::int64_t>(index, -1, extent - 1);
    };
    starts[axis] = place(from[i]);
    ends[axis] = place(to[i]);
    if (step < 0) {
      // Reads backwards: the same elements of the reversed tensor, forwards.
      flipped.push_back(axes[i]);
      starts[axis] = extent - 1 - starts[axis];
      ends[axis] = extent - 1 - ends[axis];
    }
    steps[axis] = step < 0 ? -std::max(step, -std::numeric_limits<std::int64_t>::max()) : step;
    ends[axis] = std::max(starts[axis], ends[axis]);
  }
  if (!flipped.empty()) x = reverse(x, flipped);
  return {slice(x, starts, ends, steps)};
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

}  // namespace ml
