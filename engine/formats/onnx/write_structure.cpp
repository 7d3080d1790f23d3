// Writing ops that move elements, index, convolve and pool.
#include <algorithm>
#include <limits>
#include <optional>

#include "engine/formats/onnx/writer.h"
#include "engine/graph/ops/convolution.h"
#include "engine/graph/ops/dynamic.h"
#include "engine/graph/ops/indexing.h"
#include "engine/graph/ops/movement.h"
#include "engine/graph/ops/norm.h"
#include "engine/graph/ops/pooling.h"

namespace ml::onnx {
namespace {

using Names = const std::vector<std::string>&;

Ints joined(const Ints& a, const Ints& b) {
  Ints both = a;
  both.insert(both.end(), b.begin(), b.end());
  return both;
}

NamedAttributes window_attributes(const Windows& w, const Ints& size) {
  return {{"kernel_shape", size},
          {"strides", w.strides},
          {"pads", joined(w.pad_low, w.pad_high)},
          {"dilations", w.dilations}};
}

// 0 keeps an extent when it keeps the one at its own place; a real 0 forces allowzero, where that has no meaning.
bool writable_reshape(const Graph&, const Node& node) {
  const Ints& dims = node.as<ReshapeAttributes>().dims;
  bool zero = false, keeps = false;
  for (std::size_t i = 0; i < dims.size(); ++i) {
    zero |= dims[i] == 0;
    keeps |= dims[i] == reshape_keeps(static_cast<int>(i));
  }
  const bool moved = std::ranges::any_of(dims, [&](const std::int64_t& dim) {
    return dim < kUnknown && dim != reshape_keeps(static_cast<int>(&dim - dims.data()));
  });
  return !moved && !(zero && keeps);
}
void write_reshape(Writer& w, const Node& node, Names in, Names out) {
  Ints dims = node.as<ReshapeAttributes>().dims;
  const bool zero = std::ranges::find(dims, 0) != dims.end();
  for (std::int64_t& dim : dims) {
    if (dim < kUnknown) dim = 0;
  }
  w.add("Reshape", {in[0], w.integers(dims)}, {{"allowzero", std::int64_t{zero}}}, out[0]);
}
// Extents kept at other places than their own, in order, where only ones leave and come: the axes of those.
struct Ones {
  Ints leaving, coming;  // of the input, of the output
};
std::optional<Ones> moved_by_ones(const Graph& graph, const Node& node) {
  const Shape& shape = graph.type(node.inputs[0]).shape;
  const Ints& dims = node.as<ReshapeAttributes>().dims;
  Ones ones;
  std::int64_t axis = 0;
  for (std::size_t i = 0; i < dims.size(); ++i) {
    if (dims[i] == 1) {
      ones.coming.push_back(static_cast<std::int64_t>(i));
      continue;
    }
    if (dims[i] >= kUnknown) return std::nullopt;
    for (const std::int64_t kept = -2 - dims[i]; axis < kept; ++axis) ones.leaving.push_back(axis);
    if (axis++ != -2 - dims[i]) return std::nullopt;
  }
  for (; axis < shape.rank(); ++axis) ones.leaving.push_back(axis);
  const auto is_one = [&shape](std::int64_t at) { return shape[static_cast<int>(at)] == 1; };
  return std::ranges::all_of(ones.leaving, is_one) ? std::optional(ones) : std::nullopt;
}
bool only_ones_move(const Graph& graph, const Node& node) { return moved_by_ones(graph, node).has_value(); }
void write_moved_ones(Writer& w, const Node& node, Names in, Names out) {
  const Ones ones = *moved_by_ones(w.graph, node);
  const auto move = [&](const char* type, const std::string& x, const Ints& axes, const std::string& output) {
    return w.add(type, {x, w.integers(axes)}, {}, output);
  };
  if (ones.coming.empty())
    move("Squeeze", in[0], ones.leaving, out[0]);
  else
    move("Unsqueeze", ones.leaving.empty() ? in[0] : move("Squeeze", in[0], ones.leaving, ""), ones.coming, out[0]);
}
// Others: read from the input's shape.
void write_moved_reshape(Writer& w, const Node& node, Names in, Names out) {
  const std::string extents = w.add("Shape", {in[0]});
  std::vector<std::string> parts;
  for (const std::int64_t dim : node.as<ReshapeAttributes>().dims) {
    parts.push_back(dim >= kUnknown ? w.integers({dim})
                                    : w.add("Gather", {extents, w.integers({-2 - dim})}, {{"axis", std::int64_t{0}}}));
  }
  w.add("Reshape", {in[0], w.add("Concat", parts, {{"axis", std::int64_t{0}}})}, {{"allowzero", std::int64_t{1}}},
        out[0]);
}
bool no_inferred_zero(const Graph&, const Node& node) {
  const Ints& dims = node.as<ReshapeAttributes>().dims;
  return std::ranges::find(dims, kUnknown) == dims.end() || std::ranges::find(dims, 0) == dims.end();
}

// An unknown extent stays as it is: expanding to 1 does that.
void write_broadcast(Writer& w, const Node& node, Names in, Names out) {
  const Shape& shape = node.as<BroadcastAttributes>().shape;
  Ints dims(shape.begin(), shape.end());
  std::ranges::replace(dims, kUnknown, 1);
  w.add("Expand", {in[0], w.integers(dims)}, {}, out[0]);
}

Ints all_axes(std::size_t rank) {
  Ints axes(rank);
  for (std::size_t i = 0; i < rank; ++i) axes[i] = static_cast<std::int64_t>(i);
  return axes;
}

void write_slice(Writer& w, const Node& node, Names in, Names out) {
  const auto& a = node.as<SliceAttributes>();
  w.add("Slice",
        {in[0], w.integers(a.starts), w.integers(a.ends), w.integers(all_axes(a.starts.size())), w.integers(a.strides)},
        {}, out[0]);
}

void write_reverse(Writer& w, const Node& node, Names in, Names out) {
  const Ints& axes = node.as<ReverseAttributes>().axes;
  const Ints last(axes.size(), -1), before(axes.size(), std::numeric_limits<std::int64_t>::min());
  w.add("Slice", {in[0], w.integers(last), w.integers(before), w.integers(axes), w.integers(last)}, {}, out[0]);
}

bool no_interior(const Graph&, const Node& node) {
  return std::ranges::all_of(node.as<PadAttributes>().interior, [](std::int64_t n) { return n == 0; });
}
void write_pad(Writer& w, const Node& node, Names in, Names out) {
  const auto& a = node.as<PadAttributes>();
  const std::string value = w.number(w.graph.type(node.inputs[0]).dtype, a.value);
  w.add("Pad", {in[0], w.integers(joined(a.low, a.high)), value}, {{"mode", std::string("constant")}}, out[0]);
}

void write_iota(Writer& w, const Node& node, Names, Names out) {
  const auto& a = node.as<IotaAttributes>();
  const auto axis = static_cast<int>(a.axis);
  const std::string range = w.add(
      "Range", {w.number(a.dtype, 0), w.number(a.dtype, static_cast<double>(a.shape[axis])), w.number(a.dtype, 1)});
  Ints along(static_cast<std::size_t>(a.shape.rank()), 1);
  along[static_cast<std::size_t>(axis)] = a.shape[axis];
  const std::string placed =
      w.add("Reshape", {range, w.integers(along)}, {{"allowzero", std::int64_t{a.shape[axis] == 0}}});
  w.add("Expand", {placed, w.integers({a.shape.begin(), a.shape.end()})}, {}, out[0]);
}

void write_top_k(Writer& w, const Node& node, Names in, Names out) {
  const auto& a = node.as<TopKAttributes>();
  w.add_all("TopK", {in[0], w.integers({a.k})},
            {{"axis", a.axis}, {"largest", std::int64_t{a.largest}}, {"sorted", std::int64_t{1}}}, out);
}
// ONNX has no sort: the top of everything, where the lower index wins ties as a stable sort does.
bool sortable(const Graph& graph, const Node& node) {
  return graph.type(node.inputs[0]).shape[static_cast<int>(node.as<SortAttributes>().axis)] != kUnknown;
}
void write_sort(Writer& w, const Node& node, Names in, Names out) {
  const auto& a = node.as<SortAttributes>();
  const std::int64_t extent = w.graph.type(node.inputs[0]).shape[static_cast<int>(a.axis)];
  w.add_all("TopK", {in[0], w.integers({extent})},
            {{"axis", a.axis}, {"largest", std::int64_t{a.descending}}, {"sorted", std::int64_t{1}}}, out);
}

template <bool elements>
void write_gather(Writer& w, const Node& node, Names in, Names out) {
  const std::int64_t axis = node.as<AxisAttributes>().axis;
  w.add(elements ? "GatherElements" : "Gather", in, {{"axis", axis}}, out[0]);
}

void write_scatter(Writer& w, const Node& node, Names in, Names out) {
  constexpr const char* kNames[] = {"none", "add", "mul", "max", "min"};
  const auto& a = node.as<ScatterAttributes>();
  w.add("ScatterElements", in, {{"axis", a.axis}, {"reduction", std::string(kNames[a.reduction])}}, out[0]);
}

Ints window_of(const Graph& graph, ValueId weight) {
  const Shape& shape = graph.type(weight).shape;
  return {shape.begin() + 2, shape.end()};
}
// ONNX's convolution of integers is another operator: write_quantized.cpp.
bool is_floating_convolution(const Graph& graph, const Node& node) {
  return is_floating(graph.type(node.inputs[0]).dtype);
}
void write_convolution(Writer& w, const Node& node, Names in, Names out) {
  w.add("Conv", in, convolution_attributes(w, node), out[0]);
}
// ConvTranspose can say what is left over at the high end only as output_padding.
bool transposable(const Graph& graph, const Node& node) {
  return graph.type(node.inputs[0]).shape.known() && graph.type(node.inputs[1]).shape.known();
}
void write_convolution_transpose(Writer& w, const Node& node, Names in, Names out) {
  const auto& a = node.as<ConvolutionGradientAttributes>();
  const Ints size = window_of(w.graph, node.inputs[1]);
  Ints extra;
  for (std::size_t d = 0; d < size.size(); ++d) {
    const std::int64_t counts = w.graph.type(node.inputs[0]).shape[static_cast<int>(d) + 2];
    const std::int64_t covered = (size[d] - 1) * a.windows.dilations[d] + 1;
    extra.push_back(a.extents[d] -
                    (a.windows.strides[d] * (counts - 1) + covered - a.windows.pad_low[d] - a.windows.pad_high[d]));
  }
  NamedAttributes attributes = window_attributes(a.windows, size);
  attributes.emplace_back("group", a.groups);
  attributes.emplace_back("output_padding", extra);
  w.add("ConvTranspose", in, attributes, out[0]);
}

void write_max_pool(Writer& w, const Node& node, Names in, Names out) {
  const auto& a = node.as<MaxPoolAttributes>();
  w.add("MaxPool", in, window_attributes(a.windows, a.size), out[0]);
}
void write_average_pool(Writer& w, const Node& node, Names in, Names out) {
  const auto& a = node.as<AveragePoolAttributes>();
  NamedAttributes attributes = window_attributes(a.windows, a.size);
  attributes.emplace_back("count_include_pad", std::int64_t{a.count_padding});
  w.add("AveragePool", in, attributes, out[0]);
}

// Scale and bias are both there, and computing in the input's dtype is what ONNX does too.
template <std::size_t inputs>
bool affine(const Graph& graph, const Node& node) {
  return node.inputs.size() == inputs &&
         dtype_info(graph.type(node.inputs[0]).dtype).compute == graph.type(node.inputs[0]).dtype;
}

const OpWriter kWriters[] = {
    {"reshape", write_reshape, writable_reshape},
    {"reshape", write_moved_ones, only_ones_move},
    {"reshape", write_moved_reshape, no_inferred_zero},
    {"transpose",
     [](Writer& w, const Node& n, Names in, Names out) {
       w.add("Transpose", in, {{"perm", n.as<TransposeAttributes>().order}}, out[0]);
     }},
    {"broadcast_to", write_broadcast},
    {"concat",
     [](Writer& w, const Node& n, Names in, Names out) {
       w.add("Concat", in, {{"axis", n.as<AxisAttributes>().axis}}, out[0]);
     }},
    {"slice", write_slice},
    {"pad", write_pad, no_interior},
    {"reverse", write_reverse},
    {"iota", write_iota},
    {"gather", write_gather<false>},
    {"gather_elements", write_gather<true>},
    {"scatter_elements", write_scatter},
    {"top_k", write_top_k},
    {"sort", write_sort, sortable},
    {"convolution", write_convolution, is_floating_convolution},
    {"convolution_input_gradient", write_convolution_transpose, transposable},
    {"max_pool", write_max_pool},
    {"average_pool", write_average_pool},
    {"softmax",
     [](Writer& w, const Node& n, Names in, Names out) {
       w.add("Softmax", in, {{"axis", n.as<AxisAttributes>().axis}}, out[0]);
     }},
    {"log_softmax",
     [](Writer& w, const Node& n, Names in, Names out) {
       w.add("LogSoftmax", in, {{"axis", n.as<AxisAttributes>().axis}}, out[0]);
     }},
    {"batch_norm_inference",
     [](Writer& w, const Node& n, Names in, Names out) {
       w.add("BatchNormalization", {in[0], in[3], in[4], in[1], in[2]},
             {{"epsilon", n.as<BatchNormAttributes>().epsilon}}, out[0]);
     },
     affine<5>},
    {"layer_norm",
     [](Writer& w, const Node& n, Names in, Names out) {
       const auto& a = n.as<LayerNormAttributes>();
       std::vector<std::string> read = out;  // statistics are optional
       while (read.size() > 1 && w.uses(n.output(static_cast<std::uint32_t>(read.size()) - 1)) == 0) read.pop_back();
       w.add_all("LayerNormalization", in, {{"axis", a.axis}, {"epsilon", a.epsilon}}, read);
     },
     affine<3>},
    {"shape_of", [](Writer& w, const Node&, Names in, Names out) { w.add("Shape", in, {}, out[0]); }},
    {"reshape_to",
     [](Writer& w, const Node& n, Names in, Names out) {
       w.add("Reshape", in, {{"allowzero", std::int64_t{n.as<ReshapeToAttributes>().allow_zero}}}, out[0]);
     }},
    {"expand_to", [](Writer& w, const Node&, Names in, Names out) { w.add("Expand", in, {}, out[0]); }},
    {"slice_by",
     [](Writer& w, const Node& n, Names in, Names out) {
       w.add("Slice", {in[0], in[1], in[2], w.integers(n.as<SliceByAttributes>().axes), in[3]}, {}, out[0]);
     }},
};

}  // namespace

NamedAttributes convolution_attributes(Writer& w, const Node& node) {
  const auto& a = node.as<ConvolutionAttributes>();
  NamedAttributes attributes = window_attributes(a.windows, window_of(w.graph, node.inputs[1]));
  attributes.emplace_back("group", a.groups);
  return attributes;
}

std::span<const OpWriter> structure_writers() { return kWriters; }

}  // namespace ml::onnx
