// Ops that move elements without looking at them, for every dtype; and iota, which counts them.
#include "engine/graph/ops/movement.h"

#include <algorithm>

#include "engine/graph/build.h"
#include "engine/graph/ops/families.h"
#include "engine/graph/ops/rules.h"
#include "ml/error.h"

namespace ml {
namespace {

using Args = const RuleArguments&;

// Every list has one entry per dimension.
void want_per_dimension(const InferArguments& a, const Ints& list, const char* name) {
  if (list.size() != static_cast<std::size_t>(a.shape(0).rank())) {
    rules::fail(a,
                std::string(name) + " has " + std::to_string(list.size()) + " entries for " + rules::text(a.inputs[0]));
  }
}

std::string text(const Ints& list) {
  std::string joined = "[";
  for (const std::int64_t entry : list) joined += (joined.size() > 1 ? ", " : "") + std::to_string(entry);
  return joined + "]";
}

std::vector<TensorType> infer_reshape(const InferArguments& a) {
  const Ints& dims = a.as<ReshapeAttributes>().dims;
  const Shape& from = a.shape(0);
  if (dims.size() > kMaxRank) rules::fail(a, "a tensor has at most 8 dimensions, not " + std::to_string(dims.size()));
  const auto refuse = [&](const std::string& why) {
    rules::fail(a, "cannot make " + text(dims) + " of " + rules::text(a.inputs[0]) + ": " + why);
  };
  Shape to;
  int inferred = -1;
  std::int64_t rest = 1;  // elements of the result without the inferred dimension
  for (const std::int64_t dim : dims) {
    std::int64_t extent = dim;
    if (dim == kUnknown) {
      if (inferred >= 0) refuse("at most one extent can be inferred");
      inferred = to.rank();
    } else if (dim < kUnknown) {
      const std::int64_t kept = -2 - dim;
      if (kept >= from.rank()) refuse("the input has no dimension " + std::to_string(kept));
      extent = from[static_cast<int>(kept)];
    }
    to.append(extent);
    if (dim != kUnknown) rest = rest == 0 || extent == 0 ? 0 : rules::multiply_extents(a, rest, extent);
  }
  if (!from.known()) return {{a.dtype(0), to}};
  const std::int64_t elements = from.elements();
  if (inferred < 0) {
    if (rest != elements) refuse(std::to_string(elements) + " elements do not make " + std::to_string(rest));
  } else {
    if (rest == 0) refuse("beside an extent of 0 none can be inferred");
    if (elements % rest != 0) {
      refuse(std::to_string(elements) + " elements are not a multiple of " + std::to_string(rest));
    }
    to[inferred] = elements / rest;
  }
  return {{a.dtype(0), to}};
}

std::vector<TensorType> infer_broadcast(const InferArguments& a) {
  const Shape& from = a.shape(0);
  Shape to = a.as<BroadcastAttributes>().shape;
  const int leading = to.rank() - from.rank();
  const auto refuse = [&] { rules::fail(a, from.str() + " does not broadcast to " + to.str()); };
  if (leading < 0) refuse();
  for (int i = 0; i < to.rank(); ++i) {
    if (i < leading) {
      if (to[i] == kUnknown) rules::fail(a, "the new dimension " + std::to_string(i) + " needs an extent");
    } else if (to[i] == kUnknown) {
      to[i] = from[i - leading];
    } else if (from[i - leading] != 1 && !rules::same_extent(from[i - leading], to[i])) {
      refuse();
    }
  }
  return {{a.dtype(0), to}};
}

std::vector<TensorType> infer_transpose(const InferArguments& a) {
  const Ints& order = a.as<TransposeAttributes>().order;
  want_per_dimension(a, order, "order");
  Shape shape;
  unsigned seen = 0;
  for (const std::int64_t axis : order) {
    const unsigned bit = 1u << rules::axis_of(a, axis);
    if ((seen & bit) != 0) rules::fail(a, "order names dimension " + std::to_string(axis) + " twice");
    seen |= bit;
    shape.append(a.shape(0)[static_cast<int>(axis)]);
  }
  return {{a.dtype(0), shape}};
}

std::vector<TensorType> infer_bit_cast(const InferArguments& a) {
  const DType to = a.as<DTypeAttributes>().dtype;
  if (dtype_info(to).bits != dtype_info(a.dtype(0)).bits)
    rules::fail(a, rules::text(a.inputs[0]) + " has elements of another width than " + std::string(dtype_name(to)));
  if (to == DType::boolean && a.dtype(0) != to) rules::fail(a, "not every byte is a bool", "compare with 0");
  return {{to, a.shape(0)}};
}

std::vector<TensorType> infer_concat(const InferArguments& a) {
  rules::same_dtypes(a);
  const int axis = rules::axis_of(a, a.as<AxisAttributes>().axis);
  Shape shape = a.shape(0);
  for (std::size_t i = 1; i < a.inputs.size(); ++i) {
    const Shape& part = a.shape(i);
    Shape others = part;
    if (part.rank() == shape.rank()) others[axis] = shape[axis];
    if (!rules::same_shape(others, shape)) {
      rules::fail(a, "part " + std::to_string(i) + " does not fit: " + part.str() + " behind " + a.shape(0).str() +
                         " along axis " + std::to_string(axis));
    }
    for (int d = 0; d < shape.rank(); ++d) {
      if (d == axis) {
        shape[d] = rules::add_extents(a, shape[d], part[d]);
      } else if (shape[d] == kUnknown) {
        shape[d] = part[d];
      }
    }
  }
  return {{a.dtype(0), shape}};
}

std::vector<TensorType> infer_slice(const InferArguments& a) {
  const auto& attributes = a.as<SliceAttributes>();
  want_per_dimension(a, attributes.starts, "starts");
  want_per_dimension(a, attributes.ends, "ends");
  want_per_dimension(a, attributes.strides, "strides");
  Shape shape = a.shape(0);
  for (int i = 0; i < shape.rank(); ++i) {
    const std::int64_t stride = attributes.strides[static_cast<std::size_t>(i)];
    if (stride <= 0) rules::fail(a, "stride " + std::to_string(stride) + " is not positive", "reverse the axis first");
    if (shape[i] != kUnknown) shape[i] = slice_range(attributes, i, shape[i]).count;
  }
  return {{a.dtype(0), shape}};
}

std::vector<TensorType> infer_pad(const InferArguments& a) {
  const auto& attributes = a.as<PadAttributes>();
  want_per_dimension(a, attributes.low, "low");
  want_per_dimension(a, attributes.high, "high");
  want_per_dimension(a, attributes.interior, "interior");
  Shape shape = a.shape(0);
  for (int i = 0; i < shape.rank(); ++i) {
    const auto d = static_cast<std::size_t>(i);
    for (const std::int64_t amount : {attributes.low[d], attributes.high[d], attributes.interior[d]}) {
      if (amount < 0) rules::fail(a, "cannot pad by " + std::to_string(amount), "use slice to remove elements");
    }
    const std::int64_t gaps = shape[i] == kUnknown ? kUnknown : std::max<std::int64_t>(shape[i] - 1, 0);
    shape[i] = rules::add_extents(a, shape[i], rules::multiply_extents(a, gaps, attributes.interior[d]));
    shape[i] = rules::add_extents(a, shape[i], rules::add_extents(a, attributes.low[d], attributes.high[d]));
  }
  return {{a.dtype(0), shape}};
}

std::vector<TensorType> infer_reverse(const InferArguments& a) {
  const Ints& axes = a.as<ReverseAttributes>().axes;
  for (std::size_t i = 0; i < axes.size(); ++i) {
    rules::axis_of(a, axes[i]);
    if (i > 0 && axes[i] <= axes[i - 1]) rules::fail(a, "axes must be sorted and unique");
  }
  return {a.inputs[0]};
}

std::vector<TensorType> infer_iota(const InferArguments& a) {
  const auto& attributes = a.as<IotaAttributes>();
  const std::string type = rules::text({attributes.dtype, attributes.shape});
  if (attributes.dtype == DType::boolean || is_narrow(attributes.dtype))
    rules::fail(a, "wants a numeric dtype, got " + type);
  if (!attributes.shape.known()) rules::fail(a, "wants a known shape, got " + type);
  if (attributes.axis < 0 || attributes.axis >= attributes.shape.rank()) {
    rules::fail(a, "axis " + std::to_string(attributes.axis) + " is outside of " + type);
  }
  return {{attributes.dtype, attributes.shape}};
}

std::vector<Var> gradient_transpose(Args a) {
  const Ints& order = a.as<TransposeAttributes>().order;
  Ints inverse(order.size());
  for (std::size_t i = 0; i < order.size(); ++i) {
    inverse[static_cast<std::size_t>(order[i])] = static_cast<std::int64_t>(i);
  }
  return {transpose(a.cotangents[0], inverse)};
}

std::vector<Var> gradient_concat(Args a) {
  const auto axis = static_cast<std::size_t>(a.as<AxisAttributes>().axis);
  const Var dy = a.cotangents[0];
  Ints starts(static_cast<std::size_t>(dy.rank()), 0), ends(dy.shape().begin(), dy.shape().end());
  std::vector<Var> parts;
  for (const Var& part : a.inputs) {
    ends[axis] = starts[axis] + part.shape()[static_cast<int>(axis)];
    parts.push_back(slice(dy, starts, ends));
    starts[axis] = ends[axis];
  }
  return parts;
}

Var pad_with(Var x, PadAttributes attributes) {
  return emit("pad", {x}, std::make_shared<PadAttributes>(std::move(attributes)));
}

// Every element goes back to where it was taken from; what was left out gets zero.
std::vector<Var> gradient_slice(Args a) {
  const auto& attributes = a.as<SliceAttributes>();
  const Shape& shape = a.inputs[0].shape();
  PadAttributes back;
  for (int i = 0; i < shape.rank(); ++i) {
    const auto [start, stride, count] = slice_range(attributes, i, shape[i]);
    const std::int64_t low = count == 0 ? 0 : start;
    const std::int64_t taken = count == 0 ? 0 : (count - 1) * stride + 1;
    back.low.push_back(low);
    back.high.push_back(shape[i] - low - taken);
    back.interior.push_back(count > 1 ? stride - 1 : 0);
  }
  return {pad_with(a.cotangents[0], std::move(back))};
}

std::vector<Var> gradient_pad(Args a) {
  const auto& attributes = a.as<PadAttributes>();
  const Shape& shape = a.inputs[0].shape();
  Ints ends, strides;
  for (int i = 0; i < shape.rank(); ++i) {
    const auto d = static_cast<std::size_t>(i);
    const std::int64_t stride = shape[i] > 1 ? attributes.interior[d] + 1 : 1;
    strides.push_back(stride);
    ends.push_back(attributes.low[d] + (shape[i] == 0 ? 0 : (shape[i] - 1) * stride + 1));
  }
  return {slice(a.cotangents[0], attributes.low, ends, strides)};
}

constexpr Op movement(std::string_view name, InferRule infer, GradientRule gradient,
                      std::unique_ptr<Attributes> (*attributes)()) {
  return {.name = name,
          .kind = OpKind::movement,
          .min_inputs = 1,
          .max_inputs = 1,
          .infer = infer,
          .gradient = gradient_by(gradient),
          .make_attributes = attributes,
          .flops = rules::no_flops};
}

const Op kOps[] = {
    movement(
        "reshape", infer_reshape,
        [](Args a) -> std::vector<Var> { return {reshape(a.cotangents[0], a.inputs[0].shape())}; },
        attributes_of<ReshapeAttributes>),
    movement(
        "broadcast_to", infer_broadcast, [](Args a) -> std::vector<Var> { return {a.cotangents[0]}; },
        attributes_of<BroadcastAttributes>),
    movement("transpose", infer_transpose, gradient_transpose, attributes_of<TransposeAttributes>),
    movement("slice", infer_slice, gradient_slice, attributes_of<SliceAttributes>),
    movement("pad", infer_pad, gradient_pad, attributes_of<PadAttributes>),
    movement(
        "reverse", infer_reverse,
        [](Args a) -> std::vector<Var> { return {reverse(a.cotangents[0], a.as<ReverseAttributes>().axes)}; },
        attributes_of<ReverseAttributes>),
    {.name = "concat",
     .kind = OpKind::movement,
     .min_inputs = 1,
     .max_inputs = kVariadic,
     .infer = infer_concat,
     .gradient = gradient_by(gradient_concat),
     .make_attributes = attributes_of<AxisAttributes>,
     .flops = rules::no_flops},
    {.name = "bit_cast",
     .kind = OpKind::movement,
     .min_inputs = 1,
     .max_inputs = 1,
     .infer = infer_bit_cast,
     .gradient = no_gradient("bits have no derivative"),
     .make_attributes = attributes_of<DTypeAttributes>,
     .flops = rules::no_flops},
    {.name = "iota",
     .kind = OpKind::movement,
     .min_inputs = 0,
     .max_inputs = 0,
     .infer = infer_iota,
     .gradient = no_gradient("it has no inputs"),
     .make_attributes = attributes_of<IotaAttributes>},
};

// The axes as a set of bits, each in [0, rank).
unsigned axis_bits(const Ints& axes, int rank, const char* what) {
  unsigned bits = 0;
  for (const std::int64_t axis : axes) {
    const unsigned bit = 1u << normalize_axis(axis, rank, what);
    if ((bits & bit) != 0) {
      throw Error(Code::invalid_argument, std::string(what) + " " + std::to_string(axis) + " is named twice");
    }
    bits |= bit;
  }
  return bits;
}

Var reshape_to(Var x, Ints dims) {
  auto attributes = std::make_shared<ReshapeAttributes>();
  attributes->dims = std::move(dims);
  return emit("reshape", {x}, std::move(attributes));
}

// How a reshape names the extent of the input's dimension i.
std::int64_t keep(Var x, int i) { return x.shape()[i] == kUnknown ? reshape_keeps(i) : x.shape()[i]; }

}  // namespace

SliceRange slice_range(const SliceAttributes& attributes, int axis, std::int64_t extent) {
  const auto i = static_cast<std::size_t>(axis);
  const auto position = [&](std::int64_t at) {
    return at < 0 ? std::max<std::int64_t>(at + extent, 0) : std::min(at, extent);
  };
  const std::int64_t start = position(attributes.starts[i]), end = position(attributes.ends[i]);
  const std::int64_t stride = attributes.strides[i];
  return {start, stride, start < end ? (end - start - 1) / stride + 1 : 0};
}

std::span<const Op> movement_ops() { return kOps; }

Var bit_cast(Var x, DType dtype) {
  auto attributes = std::make_shared<DTypeAttributes>();
  attributes->dtype = dtype;
  return emit("bit_cast", {x}, std::move(attributes));
}

Var reshape(Var x, const Shape& shape) {
  return x.shape().known() && x.shape() == shape ? x : reshape_to(x, {shape.begin(), shape.end()});
}

Var squeeze(Var x, Ints axes) {
  const unsigned dropped = axis_bits(axes, x.rank(), "squeeze: axis");
  Ints dims;
  for (int i = 0; i < x.rank(); ++i) {
    if ((dropped >> i & 1) == 0) {
      dims.push_back(keep(x, i));
    } else if (!rules::same_extent(x.shape()[i], 1)) {
      throw Error(Code::invalid_argument,
                  "squeeze: dimension " + std::to_string(i) + " of " + x.shape().str() + " is not 1");
    }
  }
  return reshape_to(x, std::move(dims));
}

Var unsqueeze(Var x, Ints axes) {
  if (axes.size() > kMaxRank) throw Error(Code::invalid_argument, "unsqueeze: a tensor has at most 8 dimensions");
  const int rank = x.rank() + static_cast<int>(axes.size());
  const unsigned added = axis_bits(axes, rank, "unsqueeze: axis");
  Ints dims;
  for (int i = 0, from = 0; i < rank; ++i) dims.push_back((added >> i & 1) != 0 ? 1 : keep(x, from++));
  return reshape_to(x, std::move(dims));
}

Var transpose(Var x, Ints order) {
  auto attributes = std::make_shared<TransposeAttributes>();
  for (const std::int64_t axis : order) {
    attributes->order.push_back(normalize_axis(axis, x.rank(), "transpose: axis"));
  }
  return emit("transpose", {x}, std::move(attributes));
}

Var broadcast_to(Var x, const Shape& shape) {
  if (shape.known() && x.shape() == shape) return x;
  auto attributes = std::make_shared<BroadcastAttributes>();
  attributes->shape = shape;
  return emit("broadcast_to", {x}, std::move(attributes));
}

Var concat(std::span<const Var> parts, std::int64_t axis) {
  if (parts.empty()) throw Error(Code::invalid_argument, "concat: there is nothing to join");
  auto attributes = std::make_shared<AxisAttributes>();
  attributes->axis = normalize_axis(axis, parts[0].rank(), "concat: axis");
  return emit("concat", parts, std::move(attributes));
}

Var slice(Var x, Ints starts, Ints ends, Ints strides) {
  auto attributes = std::make_shared<SliceAttributes>();
  if (strides.empty()) strides.assign(starts.size(), 1);
  attributes->starts = std::move(starts);
  attributes->ends = std::move(ends);
  attributes->strides = std::move(strides);
  return emit("slice", {x}, std::move(attributes));
}

Var pad(Var x, Ints low, Ints high, double value) {
  PadAttributes attributes;
  attributes.interior.assign(low.size(), 0);
  attributes.low = std::move(low);
  attributes.high = std::move(high);
  attributes.value = value;
  return pad_with(x, std::move(attributes));
}

Var reverse(Var x, Ints axes) {
  const unsigned bits = axis_bits(axes, x.rank(), "reverse: axis");
  auto attributes = std::make_shared<ReverseAttributes>();
  for (int i = 0; i < x.rank(); ++i) {
    if ((bits >> i & 1) != 0) attributes->axes.push_back(i);
  }
  return emit("reverse", {x}, std::move(attributes));
}

Var iota(Graph& graph, DType dtype, const Shape& shape, std::int64_t axis) {
  auto attributes = std::make_shared<IotaAttributes>();
  attributes->dtype = dtype;
  attributes->shape = shape;
  attributes->axis = normalize_axis(axis, shape.rank(), "iota: axis");
  return {&graph, graph.add(find_op("iota"), std::move(attributes), {})};
}

}  // namespace ml
