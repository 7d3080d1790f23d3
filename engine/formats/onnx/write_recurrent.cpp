// Writing recurrent layers. ONNX's take what a step's gates are made of, ours the gates: the product and the bias
// before a row go into the node; where there are none the gates themselves are its input, with weights that pick each
// direction's.
#include <algorithm>
#include <cstring>

#include "engine/formats/onnx/writer.h"
#include "engine/graph/ops/matmul.h"
#include "engine/graph/ops/recurrent.h"

namespace ml::onnx {
namespace {

using Names = const std::vector<std::string>&;

// reshape(x w^T + bias): the nodes from the last to the first, or none.
struct Projection {
  std::vector<const Node*> nodes;
  ValueId x = kNoValue, w = kNoValue, bias = kNoValue;  // a bias may be missing
};

Projection projection_of(const Graph& graph, const Node& node) {
  const auto shape = [&graph](ValueId value) -> const Shape& { return graph.type(value).shape; };
  const Node* at = graph.producer(node.inputs[0]);
  if (at == nullptr || at->op->name != "reshape" || shape(at->inputs[0]).rank() != 3) return {};
  const std::int64_t rows = shape(node.inputs[1])[0] * shape(node.inputs[1])[1];
  if (shape(at->inputs[0])[2] != rows) return {};
  Projection found;
  found.nodes.push_back(at);
  at = graph.producer(at->inputs[0]);
  if (at != nullptr && at->op->name == "add") {
    const std::size_t vector = shape(at->inputs[0]).rank() == 1 ? 0 : 1;
    if (shape(at->inputs[vector]) != Shape{rows}) return {};
    found.bias = at->inputs[vector];
    found.nodes.push_back(at);
    at = graph.producer(at->inputs[1 - vector]);
  }
  if (at == nullptr || at->op->name != "matmul") return {};
  const auto& product = at->as<MatmulAttributes>();
  if (product.transpose_a || !product.transpose_b) return {};
  if (shape(at->inputs[0]).rank() != 3 || shape(at->inputs[1]).rank() != 2) return {};
  found.nodes.push_back(at);
  found.x = at->inputs[0];
  found.w = at->inputs[1];
  return found;
}
std::vector<const Node*> projection_nodes(const Graph& graph, const Node& node) {
  return projection_of(graph, node).nodes;
}

bool known_weights(const Graph& graph, const Node& node) { return graph.type(node.inputs[1]).shape.known(); }

// [D, rows, D rows]: direction d takes the d-th part of what it is given.
std::string pick(Writer& w, DType dtype, std::int64_t directions, std::int64_t rows) {
  const ConstantPtr one = make_splat(dtype, {}, 1);
  const std::size_t size = dtype_size(dtype);
  std::vector<std::byte> bytes(static_cast<std::size_t>(directions * rows * directions * rows) * size);
  for (std::int64_t i = 0; i < directions * rows; ++i)
    std::memcpy(&bytes[static_cast<std::size_t>(i * directions * rows + i) * size], one->bytes().data(), size);
  return w.tensor(*make_constant(dtype, {directions, rows, directions * rows}, bytes));
}

// Half a bias that changes nothing: adding 0 would, where the other half is -0.
std::string zeros(Writer& w, DType dtype, const Shape& shape) { return w.tensor(*make_splat(dtype, shape, -0.0)); }
std::string concat(Writer& w, const std::vector<std::string>& parts) {
  return w.add("Concat", parts, {{"axis", std::int64_t{1}}});
}
std::string reshape(Writer& w, const std::string& x, const Ints& dims) {
  return w.add("Reshape", {x, w.integers(dims)});
}

// Operands behind the gates and r: `states`, then the bias of gru's candidate and lengths, which may be missing.
void write_layer(Writer& w, const Node& node, Names in, Names out, const char* type, std::size_t states,
                 NamedAttributes attributes) {
  const Shape& r = w.graph.type(node.inputs[1]).shape;
  const DType dtype = w.graph.type(node.inputs[0]).dtype;
  const std::int64_t directions = r[0], rows = r[1], hidden = r[2];
  std::string bias, lengths;
  for (std::size_t i = 2 + states; i < in.size(); ++i) {
    if (is_integer(w.graph.type(node.inputs[i]).dtype)) {
      lengths = w.add("Cast", {in[i]}, {{"to", std::int64_t{6}}});  // i32
    } else {
      bias = concat(w, {zeros(w, dtype, {directions, rows - hidden}), in[i]});
      attributes.emplace_back("linear_before_reset", std::int64_t{1});
    }
  }
  const Projection projection = projection_of(w.graph, node);
  std::string x, weights, input_bias;
  if (projection.nodes.empty()) {
    x = reshape(w, in[0], {0, 0, directions * rows});
    weights = pick(w, dtype, directions, rows);
  } else {
    x = w.name(projection.x);
    weights = reshape(w, w.name(projection.w), {directions, rows, -1});
    if (projection.bias != kNoValue) input_bias = reshape(w, w.name(projection.bias), {directions, rows});
  }
  if (!bias.empty() || !input_bias.empty()) {
    const auto or_zeros = [&](const std::string& part) {
      return part.empty() ? zeros(w, dtype, {directions, rows}) : part;
    };
    input_bias = or_zeros(input_bias);
    bias = concat(w, {input_bias, or_zeros(bias)});
  }
  const bool reverse = node.as<RecurrentAttributes>().reverse;
  attributes.emplace_back("hidden_size", hidden);
  attributes.emplace_back("direction", std::string(directions == 2 ? "bidirectional"
                                                   : reverse       ? "reverse"
                                                                   : "forward"));
  std::vector<std::string> inputs{x, weights, in[1], bias, lengths};
  inputs.insert(inputs.end(), in.begin() + 2, in.begin() + 2 + static_cast<std::ptrdiff_t>(states));
  std::vector<std::string> outputs = out;
  outputs[0] = w.fresh_name();
  w.add_all(type, inputs, attributes, outputs);
  w.add("Transpose", {outputs[0]}, {{"perm", Ints{0, 2, 1, 3}}}, out[0]);  // directions behind the batch
}

const OpWriter kWriters[] = {
    {"lstm", [](Writer& w, const Node& n, Names in, Names out) { write_layer(w, n, in, out, "LSTM", 2, {}); },
     known_weights, projection_nodes},
    {"gru", [](Writer& w, const Node& n, Names in, Names out) { write_layer(w, n, in, out, "GRU", 1, {}); },
     known_weights, projection_nodes},
};

}  // namespace

std::span<const OpWriter> recurrent_writers() { return kWriters; }

}  // namespace ml::onnx
