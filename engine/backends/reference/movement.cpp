// Movement is by bits: a kernel says where each element goes.
#include "engine/graph/ops/movement.h"

#include "engine/backends/reference/kernel.h"
#include "engine/graph/narrow.h"
#include "engine/graph/scalar.h"

namespace ml::reference {
namespace {

using Bits = std::vector<std::uint64_t>;

// A dense tensor of `shape` where the element at [i0, i1, ...] is the one of `from` at start + i0 * strides[0] + ...
Bits take(const Bits& from, const Shape& shape, const Strides& strides, std::int64_t start = 0) {
  Bits to(static_cast<std::size_t>(shape.elements()));
  walk(shape, strides, [&](std::int64_t position, std::int64_t offset) {
    to[static_cast<std::size_t>(position)] = from[static_cast<std::size_t>(start + offset)];
  });
  return to;
}
// The other way round: the elements of a dense tensor of `shape` go there.
void put(const Bits& from, const Shape& shape, Bits& to, const Strides& strides, std::int64_t start = 0) {
  walk(shape, strides, [&](std::int64_t position, std::int64_t offset) {
    to[static_cast<std::size_t>(start + offset)] = from[static_cast<std::size_t>(position)];
  });
}

void reshape(const Call& call) { store_bits(call.outputs[0], load_bits(call.inputs[0])); }

void broadcast_to(const Call& call) {
  store_bits(call.outputs[0], broadcast(load_bits(call.inputs[0]), call.inputs[0].shape(), call.outputs[0].shape()));
}

void transpose(const Call& call) {
  const Strides strides = dense_strides(call.inputs[0].shape());
  Strides ordered{};
  const Ints& order = call.as<TransposeAttributes>().order;
  for (std::size_t i = 0; i < order.size(); ++i) ordered[i] = strides[static_cast<std::size_t>(order[i])];
  store_bits(call.outputs[0], take(load_bits(call.inputs[0]), call.outputs[0].shape(), ordered));
}

void slice(const Call& call) {
  const Shape& shape = call.inputs[0].shape();
  Strides strides = dense_strides(shape);
  std::int64_t start = 0;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    const SliceRange range = slice_range(call.as<SliceAttributes>(), axis, shape[axis]);
    std::int64_t& stride = strides[static_cast<std::size_t>(axis)];
    start += range.start * stride;
    stride *= range.stride;
  }
  store_bits(call.outputs[0], take(load_bits(call.inputs[0]), call.outputs[0].shape(), strides, start));
}

void reverse(const Call& call) {
  const Shape& shape = call.inputs[0].shape();
  Strides strides = dense_strides(shape);
  std::int64_t start = 0;
  for (const std::int64_t axis : call.as<ReverseAttributes>().axes) {
    std::int64_t& stride = strides[static_cast<std::size_t>(axis)];
    start += (shape[static_cast<int>(axis)] - 1) * stride;
    stride = -stride;
  }
  store_bits(call.outputs[0], take(load_bits(call.inputs[0]), shape, strides, start));
}

void pad(const Call& call) {
  const auto& attributes = call.as<PadAttributes>();
  const Tensor& output = call.outputs[0];
  std::uint64_t value = 0;
  store_double(output.dtype(), reinterpret_cast<std::byte*>(&value), attributes.value);
  Bits padded(static_cast<std::size_t>(output.elements()), value);
  Strides strides = dense_strides(output.shape());
  std::int64_t start = 0;
  for (std::size_t i = 0; i < attributes.low.size(); ++i) {
    start += attributes.low[i] * strides[i];
    strides[i] *= attributes.interior[i] + 1;
  }
  put(load_bits(call.inputs[0]), call.inputs[0].shape(), padded, strides, start);
  store_bits(output, padded);
}

void concat(const Call& call) {
  const Tensor& output = call.outputs[0];
  const auto axis = static_cast<int>(call.as<AxisAttributes>().axis);
  const Strides strides = dense_strides(output.shape());
  Bits joined(static_cast<std::size_t>(output.elements()));
  std::int64_t start = 0;
  for (const Tensor& part : call.inputs) {
    put(load_bits(part), part.shape(), joined, strides, start);
    start += part.shape()[axis] * strides[static_cast<std::size_t>(axis)];
  }
  store_bits(output, joined);
}

void iota(const Call& call) {
  const auto& attributes = call.as<IotaAttributes>();
  const AxisView view(attributes.shape, attributes.axis);
  std::vector<std::int64_t> values(static_cast<std::size_t>(call.outputs[0].elements()));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<std::int64_t>(i) / view.inner % view.extent;
  store(call.outputs[0], values);
}

void bit_cast(const Call& call) {
  Bits bits = load_bits(call.inputs[0]);
  const DType to = call.outputs[0].dtype();
  if (is_narrow(to)) {
    for (std::uint64_t& element : bits) element = narrow::canonical(to, static_cast<std::uint8_t>(element));
  }
  store_bits(call.outputs[0], bits);
}

constexpr Row kRows[] = {
    {"reshape", reshape},     {"broadcast_to", broadcast_to},
    {"transpose", transpose}, {"slice", slice},
    {"reverse", reverse},     {"pad", pad},
    {"concat", concat},       {"iota", iota},
    {"bit_cast", bit_cast},
};

}  // namespace

std::span<const Row> movement_rows() { return kRows; }

}  // namespace ml::reference
