// Rows that ONNX has no operator for, or none that is read as the row again: functions of ONNX's operators.
#include "engine/formats/onnx/tensor.h"
#include "engine/formats/onnx/writer.h"
#include "engine/graph/ops/detection.h"
#include "engine/graph/ops/fourier.h"
#include "engine/graph/ops/indexing.h"
#include "engine/graph/ops/movement.h"

namespace ml::onnx {
namespace {

using Names = const std::vector<std::string>&;

constexpr const char* kReductions[] = {"none", "add", "mul", "max", "min"};

NamedAttributes nothing(const Node&) { return {}; }

std::string one(Writer& w, const Node& node) { return w.number(w.graph.type(node.inputs[0]).dtype, 1); }
void write_expm1(Writer& w, const Node& node, Names in, Names out) {
  w.add("Sub", {w.add("Exp", in), one(w, node)}, {}, out[0]);
}
void write_log1p(Writer& w, const Node& node, Names in, Names out) {
  w.add("Log", {w.add("Add", {in[0], one(w, node)})}, {}, out[0]);
}

NamedAttributes scatter_attributes(const Node& node) {
  const auto& a = node.as<ScatterAttributes>();
  return {{"axis", a.axis}, {"reduction", std::string(kReductions[a.reduction])}};
}

// ScatterND writes along the first axis: the others change places with it, in what is written too.
void write_scatter_slices(Writer& w, const Node& node, Names in, Names out) {
  const auto& a = node.as<ScatterAttributes>();
  const std::int64_t rank = w.graph.type(node.inputs[0]).shape.rank(),
                     indices = w.graph.type(node.inputs[1]).shape.rank();
  Ints first{a.axis}, back, updates;
  for (std::int64_t i = 0; i < rank; ++i) {
    back.push_back(i == a.axis ? 0 : i < a.axis ? i + 1 : i);
    if (i != a.axis) first.push_back(i);
  }
  for (std::int64_t i = 0; i < indices; ++i) updates.push_back(a.axis + i);
  for (std::int64_t i = 0; i < rank - 1 + indices; ++i) {
    if (i < a.axis || i >= a.axis + indices) updates.push_back(i);
  }
  const auto moved = [&](const std::string& x, const Ints& order, std::string output = {}) {
    return w.add("Transpose", {x}, {{"perm", order}}, std::move(output));
  };
  const NamedAttributes reduction{{"reduction", std::string(kReductions[a.reduction])}};
  const std::string places = w.add("Unsqueeze", {in[1], w.integers({-1})});
  if (a.axis == 0) {
    w.add("ScatterND", {in[0], places, in[2]}, reduction, out[0]);
  } else {
    moved(w.add("ScatterND", {moved(in[0], first), places, moved(in[2], updates)}, reduction), back, out[0]);
  }
}

// ONNX's Transpose wants to know the order: the elements are gathered instead, from the sums of what each dimension of
// the result adds to the offset.
void write_transpose_by(Writer& w, const Node& node, Names in, Names out) {
  const int rank = w.graph.type(node.inputs[0]).shape.rank();
  if (rank == 0) {
    w.add("Identity", {in[0]}, {}, out[0]);
    return;
  }
  const std::string extents = w.add("Shape", {in[0]}), zero = w.number(DType::i64, 0), one = w.number(DType::i64, 1);
  std::vector<std::string> strides;
  for (std::int64_t i = 1; i < rank; ++i) {
    const std::string behind = w.add("Slice", {extents, w.integers({i}), w.integers({rank})});
    strides.push_back(w.add("ReduceProd", {behind}, {{"keepdims", std::int64_t{1}}}));
  }
  strides.push_back(w.integers({1}));
  const std::string extent = w.add("Gather", {extents, in[1]});
  const std::string stride = w.add("Gather", {w.add("Concat", strides, {{"axis", std::int64_t{0}}}), in[1]});
  std::string offset;
  for (std::int64_t i = 0; i < rank; ++i) {
    const auto element = [&](const std::string& vector) {
      return w.add("Gather", {vector, w.number(DType::i64, static_cast<double>(i))});
    };
    std::string line = w.add("Mul", {w.add("Range", {zero, element(extent), one}), element(stride)});
    Ints behind;
    for (std::int64_t k = i + 1; k < rank; ++k) behind.push_back(k - i);
    if (!behind.empty()) line = w.add("Unsqueeze", {line, w.integers(behind)});
    offset = offset.empty() ? line : w.add("Add", {offset, line});
  }
  w.add("Gather", {w.add("Reshape", {in[0], w.integers({-1})}), offset}, {}, out[0]);
}

// Elements [first, end) of a vector, or rows of a matrix along its columns.
std::string part(Writer& w, const std::string& x, std::int64_t first, std::int64_t end, std::int64_t axis = 0) {
  return w.add("Slice", {x, w.integers({first}), w.integers({end}), w.integers({axis})});
}
std::string cast_to(Writer& w, const std::string& x, DType dtype, std::string output = {}) {
  return w.add("Cast", {x}, {{"to", std::int64_t{onnx_type_of(dtype)}}}, std::move(output));
}

NamedAttributes suppression_attributes(const Node& node) { return {{"most", node.as<SuppressionAttributes>().most}}; }
bool suppresses(const Graph& graph, const Node& node) { return graph.type(node.inputs[0]).dtype != DType::f64; }
// ONNX's answers [batch, class, box] of what is kept, class by class: each goes to the next place of its class.
void write_suppression(Writer& w, const Node& node, Names in, Names out) {
  const std::int64_t most = node.as<SuppressionAttributes>().most;
  std::vector<std::string> operands;
  for (const std::string& x : in) operands.push_back(cast_to(w, x, DType::f32));
  const std::string extents = w.add("Shape", {in[1]}), classes = part(w, extents, 0, 2);
  std::string room = part(w, extents, 2, 3);
  if (most != kUnknown) room = w.add("Min", {room, w.integers({most})});
  operands.insert(operands.begin() + 2, room);
  const std::string kept = w.add("NonMaxSuppression", operands), of = part(w, kept, 0, 2, 1);
  const std::string count = part(w, w.add("Shape", {kept}), 0, 1), zero = w.number(DType::i64, 0);
  const std::string ones = w.add("Expand", {w.number(DType::i64, 1), count});
  const std::string nobody = w.add("Expand", {zero, classes});
  w.add("ScatterND", {nobody, of, ones}, {{"reduction", std::string("add")}}, out[1]);
  const std::string flat = w.add("Reshape", {out[1], w.integers({-1})});
  const std::string before = w.add("CumSum", {flat, zero}, {{"exclusive", std::int64_t{1}}});
  const std::string first = w.add("GatherND", {w.add("Reshape", {before, classes}), of});
  const std::string number = w.add("CumSum", {ones, zero}, {{"exclusive", std::int64_t{1}}});
  const std::string place = w.add("Unsqueeze", {w.add("Sub", {number, first}), w.integers({1})});
  const std::string empty = w.add("Expand", {zero, w.add("Concat", {classes, room}, {{"axis", std::int64_t{0}}})});
  w.add("ScatterND",
        {empty, w.add("Concat", {of, place}, {{"axis", std::int64_t{1}}}),
         w.add("Squeeze", {part(w, kept, 2, 3, 1), w.integers({1})})},
        {}, out[0]);
}

NamedAttributes fourier_attributes(const Node& node) {
  const auto& a = node.as<FourierAttributes>();
  return {{"inverse", std::int64_t{a.inverse}}, {"onesided", std::int64_t{a.onesided}}};
}
// ONNX's answers one side of real numbers alone. ONNX Runtime's is not as exact as its dtype, and its inverse is scaled
// in f32: that is the conjugate of the conjugate's transform, divided.
void write_fourier(Writer& w, const Node& node, Names in, Names out) {
  const auto& a = node.as<FourierAttributes>();
  const double conjugate[] = {1, -1};
  const std::string signs = w.tensor(*make_constant(DType::f64, {2}, std::as_bytes(std::span(conjugate))));
  std::string x = cast_to(w, in[0], DType::f64);
  const std::string extents = w.add("Shape", {x}), length = part(w, extents, -2, -1);
  if (a.inverse) x = w.add("Mul", {x, w.add("Slice", {signs, w.integers({0}), part(w, extents, -1, kSliceToEnd)})});
  std::string y = w.add("DFT", {x, "", w.number(DType::i64, -2)});
  if (a.inverse) y = w.add("Div", {w.add("Mul", {y, signs}), cast_to(w, length, DType::f64)});
  if (a.onesided) {
    const std::string end = w.add("Add", {w.add("Div", {length, w.integers({2})}), w.integers({1})});
    y = w.add("Slice", {y, w.integers({0}), end, w.integers({-2})});
  }
  cast_to(w, y, w.graph.type(node.inputs[0]).dtype, out[0]);
}

const OpWriter kWriters[] = {
    {"dft", write_fourier, nullptr, nullptr, fourier_attributes},
    {"expm1", write_expm1, nullptr, nullptr, nothing},
    {"log1p", write_log1p, nullptr, nullptr, nothing},
    {"non_max_suppression", write_suppression, suppresses, nullptr, suppression_attributes},
    {"scatter", write_scatter_slices, nullptr, nullptr, scatter_attributes},
    {"transpose_by", write_transpose_by, nullptr, nullptr, nothing},
};

}  // namespace

std::span<const OpWriter> function_writers() { return kWriters; }

}  // namespace ml::onnx
