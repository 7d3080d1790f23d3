// Shape simplification: elements that are moved twice are moved once, and those that would stay where they are aren't
// moved. Transposes of a matrix become the product's own, zeros around an image the convolution's.
#include <algorithm>
#include <memory>
#include <utility>

#include "engine/graph/ops/convolution.h"
#include "engine/graph/ops/matmul.h"
#include "engine/graph/ops/movement.h"
#include "engine/passes/passes.h"
#include "engine/passes/patterns.h"
#include "engine/passes/walk.h"

namespace ml::passes {
namespace {

// Where windows may begin: far below what shape rules refuse.
constexpr std::int64_t kMostPadding = 1 << 20;

template <class T>
std::shared_ptr<T> copy_of(const Node& node) {
  return std::make_shared<T>(node.as<T>());
}

// Whether a reshape from one to the other keeps every extent: with one extent unknown, the number of elements tells it.
bool same_extents(const Shape& from, const Shape& to) {
  return from == to && std::ranges::count(from.dims(), kUnknown) <= 1 && std::ranges::count(from.dims(), 0) == 0;
}

Var reshape_as(Var x, Ints dims) {
  auto attributes = std::make_shared<ReshapeAttributes>();
  attributes->dims = std::move(dims);
  return emit("reshape", {x}, std::move(attributes));
}

bool is_identity(const Ints& order) {
  for (std::size_t i = 0; i < order.size(); ++i) {
    if (order[i] != static_cast<std::int64_t>(i)) return false;
  }
  return true;
}

// Whether the dimensions other than those of extent 1 stay in order, so that a transpose is a reshape.
bool keeps_order(const Shape& shape, const Ints& order) {
  std::int64_t last = -1;
  for (const std::int64_t axis : order) {
    if (shape[static_cast<int>(axis)] == 1) continue;
    if (axis < last) return false;
    last = axis;
  }
  return true;
}

// The order with its last two entries swapped.
Ints swapped(Ints order) {
  std::swap(order[order.size() - 1], order[order.size() - 2]);
  return order;
}

class Movement {
 public:
  std::vector<Var> operator()(const Visit& v) const {
    const Var result = rewrite(v);
    return result ? std::vector<Var>{result} : std::vector<Var>{};
  }

 private:
  static Var rewrite(const Visit& v) {
    const Var x = v.inputs[0];
    if (v.is("reshape")) return reshaped(v, x);
    if (v.is("transpose")) return transposed(v, x);
    if (v.is("broadcast_to")) return broadcast(v, x);
    if (v.is("slice")) return sliced(v, x);
    if (v.is("concat")) return joined(v);
    if (v.is("pad")) return padded(v, x);
    if (v.is("reverse")) return reversed(v, x);
    if (v.is("matmul")) return product(v);
    if (v.is("convolution")) return convolved(v, x);
    if (v.node.op->kind == OpKind::reduction || v.is("reduce_mean")) return reduced(v, x);
    if (v.node.op->kind == OpKind::elementwise && v.inputs.size() > 1) return narrowed(v);
    return {};
  }

  static Var reshaped(const Visit& v, Var x) {
    const Ints& dims = v.as<ReshapeAttributes>().dims;
    const Node* inner = made_by(x, "reshape");
    if (inner != nullptr) {
      // What the outer one keeps or infers, in terms of what the inner one was given.
      const Ints& between = inner->as<ReshapeAttributes>().dims;
      Ints all = dims;
      for (std::int64_t& dim : all) {
        if (dim < kUnknown) dim = between[static_cast<std::size_t>(-2 - dim)];
      }
      if (std::ranges::count(all, kUnknown) <= 1) return reshaped_once(operand(x, *inner, 0), all);
    }
    return same_result(x, dims) ? x : Var{};
  }
  static Var reshaped_once(Var x, const Ints& dims) { return same_result(x, dims) ? x : reshape_as(x, dims); }
  static bool same_result(Var x, const Ints& dims) {
    if (dims.size() != static_cast<std::size_t>(x.rank())) return false;
    bool kept = true;
    Shape to;
    for (int i = 0; i < x.rank(); ++i) {
      const std::int64_t dim = dims[static_cast<std::size_t>(i)];
      kept = kept && (dim == reshape_keeps(i) || (dim >= 0 && dim == x.shape()[i]));
      to.append(dim < kUnknown ? x.shape()[static_cast<int>(-2 - dim)] : dim);
    }
    return kept || same_extents(x.shape(), to);
  }

  static Var transposed(const Visit& v, Var x) {
    Ints order = v.as<TransposeAttributes>().order;
    if (const Node* inner = made_by(x, "transpose")) {
      const Ints& first = inner->as<TransposeAttributes>().order;
      for (std::int64_t& axis : order) axis = first[static_cast<std::size_t>(axis)];
      const Var from = operand(x, *inner, 0);
      return is_identity(order) ? from : transpose(from, order);
    }
    if (is_identity(order)) return x;
    if (keeps_order(x.shape(), order)) {
      Ints dims;
      for (const std::int64_t axis : order) {
        const std::int64_t extent = x.shape()[static_cast<int>(axis)];
        dims.push_back(extent == kUnknown ? reshape_keeps(static_cast<int>(axis)) : extent);
      }
      return reshape_as(x, dims);
    }
    // (a b)^T = b^T a^T, when nobody else wants a b.
    const Node* product = v.alone_reads(0) ? made_by(x, "matmul") : nullptr;
    if (product != nullptr && is_identity(swapped(order)) && same_batches(x, *product)) {
      const auto& attributes = product->as<MatmulAttributes>();
      return matmul(operand(x, *product, 1), operand(x, *product, 0), !attributes.transpose_b, !attributes.transpose_a);
    }
    return {};
  }
  // Operands of one rank trade places without the result's batch dimensions noticing.
  static bool same_batches(Var of, const Node& product) {
    return operand(of, product, 0).rank() == operand(of, product, 1).rank();
  }

  static Var broadcast(const Visit& v, Var x) {
    const Shape& shape = v.as<BroadcastAttributes>().shape;
    if (shape.known() ? x.shape() == shape : keeps_all(x, shape)) return x;
    const Node* inner = made_by(x, "broadcast_to");
    if (inner != nullptr && shape.known()) return broadcast_to(operand(x, *inner, 0), shape);
    return {};
  }
  static bool keeps_all(Var x, const Shape& shape) {
    if (shape.rank() != x.rank()) return false;
    for (int i = 0; i < shape.rank(); ++i) {
      if (shape[i] != kUnknown && shape[i] != x.shape()[i]) return false;
    }
    return true;
  }

  // Whether a slice takes everything of a dimension, known or not.
  static bool takes_all(const SliceAttributes& slice, int axis, std::int64_t extent) {
    const auto i = static_cast<std::size_t>(axis);
    if (extent == kUnknown) return slice.starts[i] == 0 && slice.strides[i] == 1 && slice.ends[i] == kSliceToEnd;
    const SliceRange range = slice_range(slice, axis, extent);
    return range.count == extent && (range.stride == 1 || extent <= 1);
  }

  static Var sliced(const Visit& v, Var x) {
    const auto& slice = v.as<SliceAttributes>();
    bool all = true;
    for (int i = 0; i < x.rank(); ++i) all = all && takes_all(slice, i, x.shape()[i]);
    if (all) return x;
    if (const Node* inner = made_by(x, "slice"); inner != nullptr) return sliced_twice(slice, x, *inner);
    if (const Node* parts = made_by(x, "concat"); parts != nullptr) return slice_of_part(slice, x, *parts);
    return {};
  }

  static Var sliced_twice(const SliceAttributes& outer, Var x, const Node& node) {
    const auto& inner = node.as<SliceAttributes>();
    const Var from = operand(x, node, 0);
    SliceAttributes both;
    for (int i = 0; i < x.rank(); ++i) {
      const auto d = static_cast<std::size_t>(i);
      const std::int64_t extent = from.shape()[i], between = x.shape()[i];
      if (takes_all(outer, i, between) || takes_all(inner, i, extent)) {
        const SliceAttributes& one = takes_all(outer, i, between) ? inner : outer;
        both.starts.push_back(one.starts[d]);
        both.ends.push_back(one.ends[d]);
        both.strides.push_back(one.strides[d]);
        continue;
      }
      if (extent == kUnknown) return {};
      const SliceRange a = slice_range(inner, i, extent), b = slice_range(outer, i, between);
      const std::int64_t start = a.start + b.start * a.stride, stride = a.stride * b.stride;
      both.starts.push_back(start);
      both.strides.push_back(stride);
      both.ends.push_back(b.count == 0 ? start : start + (b.count - 1) * stride + 1);
    }
    return slice(from, both.starts, both.ends, both.strides);
  }

  static Var slice_of_part(const SliceAttributes& attributes, Var x, const Node& node) {
    const auto axis = static_cast<int>(node.as<AxisAttributes>().axis);
    const auto d = static_cast<std::size_t>(axis);
    if (x.shape()[axis] == kUnknown) return {};
    const SliceRange range = slice_range(attributes, axis, x.shape()[axis]);
    const std::int64_t last = range.start + (range.count - 1) * range.stride;
    std::int64_t begin = 0;
    for (std::size_t i = 0; i < node.inputs.size(); ++i) {
      const Var part = operand(x, node, i);
      const std::int64_t end = begin + part.shape()[axis];
      if (range.count > 0 && range.start >= begin && last < end) {
        SliceAttributes own = attributes;
        own.starts[d] = range.start - begin;
        own.ends[d] = last + 1 - begin;
        bool all = true;
        for (int k = 0; k < part.rank(); ++k) all = all && takes_all(own, k, part.shape()[k]);
        return all ? part : slice(part, own.starts, own.ends, own.strides);
      }
      begin = end;
    }
    return {};
  }

  static constexpr std::size_t kMostJoined = 256;  // parts of one concat, by joining several

  static Var joined(const Visit& v) {
    const std::int64_t axis = v.as<AxisAttributes>().axis;
    std::vector<Var> parts;
    for (std::size_t at = 0; at < v.inputs.size(); ++at) {
      const Var part = v.inputs[at];
      const Node* inner = made_by(part, "concat");
      if (part.shape()[static_cast<int>(axis)] == 0) continue;
      // What others read too stays, or thirty that each have the last one twice would be one of 2^30 parts.
      const bool joins = inner != nullptr && inner->as<AxisAttributes>().axis == axis && v.alone_reads(at) &&
                         parts.size() + inner->inputs.size() <= kMostJoined;
      if (joins) {
        for (std::size_t i = 0; i < inner->inputs.size(); ++i) parts.push_back(operand(part, *inner, i));
      } else {
        append_part(parts, part, static_cast<int>(axis));
      }
    }
    if (parts.empty()) parts.push_back(v.inputs[0]);
    if (parts.size() == 1) return parts[0];
    return parts.size() == v.inputs.size() && std::ranges::equal(parts, v.inputs, {}, &Var::id, &Var::id)
               ? Var{}
               : concat(parts, axis);
  }

  // A slice behind the one that it continues is one slice with it.
  static void append_part(std::vector<Var>& parts, Var part, int axis) {
    const Var whole = parts.empty() ? Var{} : continued(parts.back(), part, axis);
    if (whole)
      parts.back() = whole;
    else
      parts.push_back(part);
  }
  static Var continued(Var first, Var second, int axis) {
    const Node *a = made_by(first, "slice"), *b = made_by(second, "slice");
    if (a == nullptr || b == nullptr || a->inputs[0] != b->inputs[0]) return {};
    const Var from = operand(first, *a, 0);
    SliceAttributes both = a->as<SliceAttributes>();
    const SliceAttributes& next = b->as<SliceAttributes>();
    for (int i = 0; i < from.rank(); ++i) {
      const auto d = static_cast<std::size_t>(i);
      const std::int64_t extent = from.shape()[i];
      if (i == axis) {
        if (extent == kUnknown) return {};
        const SliceRange x = slice_range(both, i, extent), y = slice_range(next, i, extent);
        if (x.stride != 1 || y.stride != 1 || x.start + x.count != y.start) return {};
        both.starts[d] = x.start;
        both.ends[d] = y.start + y.count;
      } else if (both.starts[d] != next.starts[d] || both.ends[d] != next.ends[d] ||
                 both.strides[d] != next.strides[d]) {
        return {};
      }
    }
    bool all = true;
    for (int i = 0; i < from.rank(); ++i) all = all && takes_all(both, i, from.shape()[i]);
    return all ? from : slice(from, both.starts, both.ends, both.strides);
  }

  static bool all_zero(const Ints& list) {
    return std::ranges::all_of(list, [](std::int64_t amount) { return amount == 0; });
  }
  static Var padded(const Visit& v, Var x) {
    const auto& attributes = v.as<PadAttributes>();
    if (!all_zero(attributes.interior)) return {};
    if (all_zero(attributes.low) && all_zero(attributes.high)) return x;
    const Node* node = made_by(x, "pad");
    if (node == nullptr) return {};
    const auto& inner = node->as<PadAttributes>();
    if (inner.value != attributes.value || !all_zero(inner.interior)) return {};
    PadAttributes both = attributes;
    for (std::size_t i = 0; i < both.low.size(); ++i) {
      if (__builtin_add_overflow(both.low[i], inner.low[i], &both.low[i])) return {};
      if (__builtin_add_overflow(both.high[i], inner.high[i], &both.high[i])) return {};
    }
    return pad(operand(x, *node, 0), both.low, both.high, both.value);
  }

  static Var reversed(const Visit& v, Var x) {
    const auto worthless = [](Var y, Ints axes) {
      std::erase_if(axes, [y](std::int64_t axis) { return y.shape()[static_cast<int>(axis)] == 1; });
      return axes;
    };
    Ints axes = worthless(x, v.as<ReverseAttributes>().axes);
    const Node* inner = made_by(x, "reverse");
    if (inner == nullptr && axes.size() == v.as<ReverseAttributes>().axes.size()) return {};
    Var from = x;
    if (inner != nullptr) {
      const Ints& first = inner->as<ReverseAttributes>().axes;
      Ints once;
      std::ranges::set_symmetric_difference(axes, first, std::back_inserter(once));
      axes = std::move(once);
      from = operand(x, *inner, 0);
    }
    return axes.empty() ? from : reverse(from, axes);
  }

  // An operand that swaps the last two dimensions is read transposed; one that brings another dimension to the end is
  // read as it would be with the dimension that is last now staying there.
  static Var product(const Visit& v) {
    const auto& attributes = v.as<MatmulAttributes>();
    Var operands[] = {v.inputs[0], v.inputs[1]};
    bool flags[] = {attributes.transpose_a, attributes.transpose_b};
    bool changed = false;
    for (std::size_t i = 0; i < 2; ++i) {
      const Node* node = made_by(operands[i], "transpose");
      if (node == nullptr) continue;
      const Ints order = node->as<TransposeAttributes>().order;
      const auto last = static_cast<std::int64_t>(order.size()) - 1;
      if (order[order.size() - 2] != last) continue;
      const Var from = operand(operands[i], *node, 0);
      operands[i] = is_identity(swapped(order)) ? from : transpose(from, swapped(order));
      flags[i] = !flags[i];
      changed = true;
    }
    return changed ? matmul(operands[0], operands[1], flags[0], flags[1]) : Var{};
  }

  static Var convolved(const Visit& v, Var x) {
    const Node* node = made_by(x, "pad");
    if (node == nullptr) return {};
    const auto& padding = node->as<PadAttributes>();
    if (padding.value != 0 || !all_zero(padding.interior) || padding.low[0] != 0 || padding.low[1] != 0 ||
        padding.high[0] != 0 || padding.high[1] != 0) {
      return {};
    }
    auto attributes = copy_of<ConvolutionAttributes>(v.node);
    Windows& windows = attributes->windows;
    for (std::size_t i = 0; i < windows.pad_low.size(); ++i) {
      if (padding.low[i + 2] > kMostPadding || padding.high[i + 2] > kMostPadding) return {};
      if (windows.pad_low[i] > kMostPadding || windows.pad_high[i] > kMostPadding) return {};
      windows.pad_low[i] += padding.low[i + 2];
      windows.pad_high[i] += padding.high[i + 2];
    }
    std::vector<Var> inputs(v.inputs.begin(), v.inputs.end());
    inputs[0] = operand(x, *node, 0);
    return emit("convolution", inputs, std::move(attributes));
  }

  // Of one element each is that element.
  static Var reduced(const Visit& v, Var x) {
    const auto& attributes = v.as<ReduceAttributes>();
    for (const std::int64_t axis : attributes.axes) {
      if (x.shape()[static_cast<int>(axis)] != 1) return {};
    }
    return attributes.keep_dims || attributes.axes.empty() ? x : squeeze(x, attributes.axes);
  }

  // An operand that was broadcast to what the others have anyway.
  static Var narrowed(const Visit& v) {
    std::vector<Var> operands(v.inputs.begin(), v.inputs.end());
    const auto result = [&] {
      Shape shape;
      for (const Var& x : operands) shape = broadcast_shapes(shape, x.shape(), "operands");
      return shape;
    };
    bool changed = false;
    for (Var& x : operands) {
      const Node* node = made_by(x, "broadcast_to");
      if (node == nullptr || !x.shape().known()) continue;
      const Shape wanted = result();
      const Var wide = std::exchange(x, operand(x, *node, 0));
      if (wanted.known() && result() == wanted)
        changed = true;
      else
        x = wide;
    }
    return changed ? emit(v.node.op->name, operands, v.node.attributes) : Var{};
  }
};

}  // namespace

Graph clean_movement(const Graph& graph) { return walk(graph, Movement{}); }

}  // namespace ml::passes
