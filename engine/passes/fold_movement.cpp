// Moving the elements of constants: by bytes and by strides, so that what it costs is what it writes. Binding a shape
// cuts masks and tables of positions to length; the tables may be large.
#include <cstring>
#include <optional>

#include "engine/graph/ops/indexing.h"
#include "engine/graph/ops/movement.h"
#include "engine/passes/evaluation.h"

namespace ml::passes {
namespace {

// The result's element at `index` is the operand's at offset + sum of index[d] strides[d].
struct View {
  std::int64_t offset = 0;
  Ints strides;
};

Ints strides_of(const Shape& shape) {
  Ints strides(static_cast<std::size_t>(shape.rank()));
  std::int64_t stride = 1;
  for (int axis = shape.rank(); axis-- > 0;) {
    strides[static_cast<std::size_t>(axis)] = stride;
    stride *= shape[axis];
  }
  return strides;
}

std::optional<View> view_of(const Node& node, const Shape& from, const Shape& to) {
  const Ints given = strides_of(from);
  View view;
  if (node.op->name == "slice") {
    const auto& attributes = node.as<SliceAttributes>();
    for (int axis = 0; axis < from.rank(); ++axis) {
      const SliceRange range = slice_range(attributes, axis, from[axis]);
      const std::int64_t stride = given[static_cast<std::size_t>(axis)];
      view.offset += range.start * stride;
      view.strides.push_back(range.stride * stride);
    }
  } else if (node.op->name == "transpose") {
    for (const std::int64_t axis : node.as<TransposeAttributes>().order) {
      const std::int64_t counted = axis < 0 ? axis + from.rank() : axis;
      view.strides.push_back(given[static_cast<std::size_t>(counted)]);
    }
  } else if (node.op->name == "broadcast_to") {
    const int leading = to.rank() - from.rank();
    for (int axis = 0; axis < to.rank(); ++axis) {
      const bool repeated = axis < leading || from[axis - leading] == 1;
      view.strides.push_back(repeated ? 0 : given[static_cast<std::size_t>(axis - leading)]);
    }
  } else {
    return std::nullopt;
  }
  return view;
}

// Appends the elements of dimension `axis` and inside of it.
void copy(const std::byte* from, const View& view, const Shape& shape, std::size_t size, int axis,
          std::vector<std::byte>& to) {
  if (axis == shape.rank()) {
    to.insert(to.end(), from, from + size);
    return;
  }
  const std::int64_t stride = view.strides[static_cast<std::size_t>(axis)];
  if (axis + 1 == shape.rank() && stride == 1) {
    to.insert(to.end(), from, from + static_cast<std::size_t>(shape[axis]) * size);
    return;
  }
  for (std::int64_t i = 0; i < shape[axis]; ++i)
    copy(from + i * stride * static_cast<std::int64_t>(size), view, shape, size, axis + 1, to);
}

// Null when an index is out of range: that belongs to the execution.
ConstantPtr gathered(const Node& node, const ConstantData& from, const ConstantData& indices, const TensorType& type) {
  const std::int64_t along = node.as<AxisAttributes>().axis;
  const int axis = static_cast<int>(along < 0 ? along + from.shape.rank() : along);
  std::int64_t outer = 1, inner = 1;
  for (int d = 0; d < axis; ++d) outer *= from.shape[d];
  for (int d = axis + 1; d < from.shape.rank(); ++d) inner *= from.shape[d];
  const std::int64_t extent = from.shape[axis], count = indices.shape.elements();
  const std::size_t run = static_cast<std::size_t>(inner) * dtype_size(type.dtype);
  std::vector<std::byte> bytes;
  bytes.reserve(static_cast<std::size_t>(outer * count) * run);
  for (std::int64_t o = 0; o < outer; ++o) {
    for (std::int64_t i = 0; i < count; ++i) {
      std::int64_t index = element_as_int(indices, i);
      if (index < 0) index += extent;
      if (index < 0 || index >= extent) return nullptr;
      const std::byte* const at = from.bytes().data() + static_cast<std::size_t>(o * extent + index) * run;
      bytes.insert(bytes.end(), at, at + run);
    }
  }
  return std::make_shared<const ConstantData>(ConstantData{type.dtype, type.shape, Blob::owning(std::move(bytes)), 0});
}

}  // namespace

ConstantPtr moved_constant(const Graph& graph, const Node& node, std::span<const ConstantPtr> constants) {
  const TensorType& type = graph.type(node.output(0));
  if (!type.shape.known() || constants.empty() || !constants[0]) return nullptr;
  const ConstantData& from = *constants[0];
  if (node.op->name == "gather") return constants[1] ? gathered(node, from, *constants[1], type) : nullptr;
  const std::optional<View> view = view_of(node, from.shape, type.shape);
  if (!view) return nullptr;
  const std::size_t size = dtype_size(type.dtype);
  std::vector<std::byte> bytes;
  if (type.shape.elements() != 0) {
    bytes.reserve(static_cast<std::size_t>(type.shape.elements()) * size);
    copy(from.bytes().data() + view->offset * static_cast<std::int64_t>(size), *view, type.shape, size, 0, bytes);
  }
  return std::make_shared<const ConstantData>(ConstantData{type.dtype, type.shape, Blob::owning(std::move(bytes)), 0});
}

}  // namespace ml::passes
