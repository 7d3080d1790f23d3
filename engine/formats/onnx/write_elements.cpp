// Writing element-wise ops, matrix products and reductions.
#include <algorithm>
#include <cmath>

#include "engine/formats/onnx/tensor.h"
#include "engine/formats/onnx/writer.h"
#include "engine/graph/ops/activation.h"
#include "engine/graph/ops/matmul.h"
#include "engine/graph/ops/reduce.h"

namespace ml::onnx {
namespace {

using Names = const std::vector<std::string>&;

// The op is the ONNX operator of that name, inputs and outputs in the same places.
template <std::size_t N>
struct Literal {
  char text[N];
  constexpr Literal(const char (&s)[N]) { std::copy_n(s, N, text); }
};
template <Literal type>
void same(Writer& w, const Node&, Names in, Names out) {
  w.add(type.text, in, {}, out[0]);
}

DType input_dtype(Writer& w, const Node& node) { return w.graph.type(node.inputs[0]).dtype; }

template <Literal type>
void reduction(Writer& w, const Node& node, Names in, Names out) {
  const auto& a = node.as<ReduceAttributes>();
  // Without axes ONNX would reduce over all of them, and a reduction over none is the identity.
  if (a.axes.empty())
    w.add("Identity", in, {}, out[0]);
  else
    w.add(type.text, {in[0], w.integers(a.axes)}, {{"keepdims", std::int64_t{a.keep_dims}}}, out[0]);
}

template <Literal type>
void arg_reduction(Writer& w, const Node& node, Names in, Names out) {
  const auto& a = node.as<ArgReduceAttributes>();
  w.add(type.text, in, {{"axis", a.axis}, {"keepdims", std::int64_t{a.keep_dims}}}, out[0]);
}

// The last two dimensions swapped first where the product wants it.
void product(Writer& w, const Node& node, Names in, Names out) {
  const auto& a = node.as<MatmulAttributes>();
  const auto operand = [&](std::size_t i, bool swapped) {
    if (!swapped) return in[i];
    Ints order(static_cast<std::size_t>(w.graph.type(node.inputs[i]).shape.rank()));
    for (std::size_t k = 0; k < order.size(); ++k) order[k] = static_cast<std::int64_t>(k);
    std::swap(order[order.size() - 1], order[order.size() - 2]);
    return w.add("Transpose", {in[i]}, {{"perm", order}});
  };
  w.add("MatMul", {operand(0, a.transpose_a), operand(1, a.transpose_b)}, {}, out[0]);
}

// Matrices that are swapped need no Transpose in a Gemm.
bool is_gemm(const Graph& graph, const Node& node) {
  const auto& a = node.as<MatmulAttributes>();
  const auto matrix = [&](std::size_t i) { return graph.type(node.inputs[i]).shape.rank() == 2; };
  return (a.transpose_a || a.transpose_b) && matrix(0) && matrix(1) && is_floating(graph.type(node.inputs[0]).dtype);
}
void gemm(Writer& w, const Node& node, Names in, Names out) {
  const auto& a = node.as<MatmulAttributes>();
  w.add("Gemm", in, {{"transA", std::int64_t{a.transpose_a}}, {"transB", std::int64_t{a.transpose_b}}}, out[0]);
}

void cumulative_sum(Writer& w, const Node& node, Names in, Names out) {
  const auto& a = node.as<CumsumAttributes>();
  const std::string axis = w.add("Squeeze", {w.integers({a.axis}), w.integers({0})});
  w.add("CumSum", {in[0], axis}, {{"exclusive", std::int64_t{a.exclusive}}, {"reverse", std::int64_t{a.reverse}}},
        out[0]);
}

// ONNX leaves open what a float becomes that a narrow integer can't hold: here it saturates. To float8 it is not to.
void write_cast(Writer& w, const Node& node, Names in, Names out) {
  const DType from = input_dtype(w, node), to = node.as<DTypeAttributes>().dtype;
  std::string x = in[0];
  if (is_narrow(to) && is_integer(to) && is_floating(from)) {
    if (is_narrow(from)) x = w.add("Cast", {x}, {{"to", std::int64_t{onnx_type_of(DType::f32)}}});
    const DType wide = is_narrow(from) ? DType::f32 : from;
    const double span = std::exp2(dtype_info(to).bits), low = is_signed(to) ? -span / 2 : 0;
    x = w.add("Clip", {x, w.number(wide, low), w.number(wide, low + span - 1)});
  }
  NamedAttributes attributes{{"to", std::int64_t{onnx_type_of(to)}}};
  if (is_narrow(to) && is_floating(to) && to != DType::f4e2m1) attributes.emplace_back("saturate", std::int64_t{0});
  if (to == DType::f8e8m0) attributes.emplace_back("round_mode", std::string("nearest"));
  w.add("Cast", {x}, attributes, out[0]);
}
void write_bit_cast(Writer& w, const Node& node, Names in, Names out) {
  w.add("BitCast", in, {{"to", std::int64_t{onnx_type_of(node.as<DTypeAttributes>().dtype)}}}, out[0]);
}

// A minimum of a maximum with scalars is a Clip.
const Node* clipped_below(const Graph& graph, const Node& node) {
  const auto bounded = [&graph](const Node& n) { return graph.type(n.inputs[1]).shape.rank() == 0; };
  const Node* inner = graph.producer(node.inputs[0]);
  if (inner == nullptr || inner->op->name != "maximum") return nullptr;
  return bounded(node) && bounded(*inner) ? inner : nullptr;
}
std::vector<const Node*> inner_maximum(const Graph& graph, const Node& node) { return {clipped_below(graph, node)}; }
bool clips(const Graph& graph, const Node& node) { return clipped_below(graph, node) != nullptr; }
void clip(Writer& w, const Node& node, Names in, Names out) {
  const Node& inner = *clipped_below(w.graph, node);
  w.add("Clip", {w.name(inner.inputs[0]), w.name(inner.inputs[1]), in[1]}, {}, out[0]);
}

bool is_unsigned(const Graph& graph, const Node& node) { return !is_signed(graph.type(node.inputs[0]).dtype); }

const OpWriter kWriters[] = {
    {"neg", same<"Neg">},
    {"abs", same<"Abs">},
    {"sign", same<"Sign">},
    {"exp", same<"Exp">},
    {"log", same<"Log">},
    {"sqrt", same<"Sqrt">},
    {"rsqrt",
     [](Writer& w, const Node&, Names in, Names out) { w.add("Reciprocal", {w.add("Sqrt", in)}, {}, out[0]); }},
    {"reciprocal", same<"Reciprocal">},
    {"sin", same<"Sin">},
    {"cos", same<"Cos">},
    {"tan", same<"Tan">},
    {"asin", same<"Asin">},
    {"acos", same<"Acos">},
    {"atan", same<"Atan">},
    {"sinh", same<"Sinh">},
    {"cosh", same<"Cosh">},
    {"tanh", same<"Tanh">},
    {"erf", same<"Erf">},
    {"sigmoid", same<"Sigmoid">},
    {"floor", same<"Floor">},
    {"ceil", same<"Ceil">},
    {"round", same<"Round">},
    {"logical_not", same<"Not">},
    {"bit_not", same<"BitwiseNot">},
    {"is_nan", same<"IsNaN">},
    {"is_inf", same<"IsInf">},
    {"add", same<"Add">},
    {"sub", same<"Sub">},
    {"mul", same<"Mul">},
    {"div", same<"Div">},
    {"rem",
     [](Writer& w, const Node&, Names in, Names out) {
       w.add("Mod", in, {{"fmod", std::int64_t{1}}}, out[0]);
     }},
    {"pow", same<"Pow">},
    {"maximum", same<"Max">},
    {"minimum", clip, clips, inner_maximum},
    {"minimum", same<"Min">},
    {"bit_and", same<"BitwiseAnd">},
    {"bit_or", same<"BitwiseOr">},
    {"bit_xor", same<"BitwiseXor">},
    {"shift_left",
     [](Writer& w, const Node&, Names in, Names out) {
       w.add("BitShift", in, {{"direction", std::string("LEFT")}}, out[0]);
     },
     is_unsigned},
    {"shift_right",
     [](Writer& w, const Node&, Names in, Names out) {
       w.add("BitShift", in, {{"direction", std::string("RIGHT")}}, out[0]);
     },
     is_unsigned},
    {"logical_and", same<"And">},
    {"logical_or", same<"Or">},
    {"logical_xor", same<"Xor">},
    {"eq", same<"Equal">},
    {"ne", [](Writer& w, const Node&, Names in, Names out) { w.add("Not", {w.add("Equal", in)}, {}, out[0]); }},
    {"lt", same<"Less">},
    {"le", same<"LessOrEqual">},
    {"gt", same<"Greater">},
    {"ge", same<"GreaterOrEqual">},
    {"select", same<"Where">},
    {"cast", write_cast},
    {"relu", same<"Relu">},
    {"gelu",
     [](Writer& w, const Node& n, Names in, Names out) {
       const bool approximate = n.as<GeluAttributes>().tanh_approximation;
       w.add("Gelu", in, {{"approximate", std::string(approximate ? "tanh" : "none")}}, out[0]);
     }},
    {"bit_cast", write_bit_cast},
    {"matmul", gemm, is_gemm},
    {"matmul", product},
    {"reduce_sum", reduction<"ReduceSum">},
    {"reduce_mean", reduction<"ReduceMean">},
    {"reduce_prod", reduction<"ReduceProd">},
    {"reduce_max", reduction<"ReduceMax">},
    {"reduce_min", reduction<"ReduceMin">},
    {"argmax", arg_reduction<"ArgMax">},
    {"argmin", arg_reduction<"ArgMin">},
    {"cumsum", cumulative_sum},
};

}  // namespace

std::span<const OpWriter> element_writers() { return kWriters; }

}  // namespace ml::onnx
