// Gradients of softmax, losses, norms, dropout, optimizer steps and control flow.
#include "engine/graph/build_control.h"
#include "engine/graph/build_nn.h"
#include "engine/graph/ops/norm.h"
#include "tests/matrix/gradients.h"

namespace ml::test {
namespace {

using Parameters = std::span<const Var>;

Var random_state(Graph& graph) {
  const std::uint64_t words[] = {11, 5};
  return constant(graph, make_constant(DType::u64, {2}, std::as_bytes(std::span(words))));
}
Var truth(Graph& graph, bool value) { return constant(graph, make_splat(DType::boolean, {}, value ? 1 : 0)); }
Var step(Graph& graph) { return constant(graph, make_splat(DType::i64, {}, 3)); }

// The gradient rows of norms have no builders. (dy, x, mean, rstd, scale)
template <class Attributes>
Vars norm_gradient(const char* op, Attributes attributes, Parameters x) {
  return emit_all(op, x, std::make_shared<Attributes>(std::move(attributes)));
}

// A closed graph of what `build` makes of f64 inputs of these shapes.
GraphPtr body(std::initializer_list<Shape> shapes, Vars (*build)(Parameters)) {
  auto graph = std::make_shared<Graph>();
  Vars inputs;
  for (const Shape& shape : shapes)
    inputs.push_back(input(*graph, "x" + std::to_string(inputs.size()), DType::f64, shape));
  std::size_t number = 0;
  for (const Var& result : build(inputs)) output("y" + std::to_string(number++), result);
  return graph;
}

Var square_of(Var x) { return x * x; }

GraphPtr product_and_sine() {
  return body({{2}, {2}}, [](Parameters x) -> Vars { return {x[0] * x[1], sin(x[0])}; });
}
GraphPtr sum_and_cosine() {
  return body({{2}, {2}}, [](Parameters x) -> Vars { return {x[0] + x[1] * x[1], cos(x[1])}; });
}
// (carry, count | slice | weight) -> (carry, count | stacked): a recurrent cell, with something carried that is not
// differentiated.
GraphPtr cell() {
  auto graph = std::make_shared<Graph>();
  graph->name = "cell";
  const Var h = input(*graph, "h", DType::f64, {2}), count = input(*graph, "count", DType::i64, {});
  const Var x = input(*graph, "x", DType::f64, {2}), w = input(*graph, "w", DType::f64, {2, 2});
  const Var next = tanh(matmul(h, w) + x * cast(count, DType::f64));
  output("h", next);
  output("count", count + 1.0);
  output("y", next * x);
  return graph;
}
template <bool reverse>
Vars recurrent(Graph& graph, Parameters x) {
  const Var carried[] = {x[0], constant(graph, make_splat(DType::i64, {}, 1))};
  return scan(cell(), carried, x.subspan(1, 1), x.subspan(2, 1), {.reverse = reverse});
}

Var elements(Graph& graph) { return cast(indices(graph, {2, 3}, {5, -7, 100, 0, 3, -128}), DType::i8); }

const GradientCase kCases[] = {
    {"dft", {{{2, 5, 2}}}, [](Graph&, Parameters x) -> Vars { return {square_of(dft(x[0]))}; }},
    {"dft of real numbers, onesided",
     {{{6, 1}}},
     [](Graph&, Parameters x) -> Vars { return {square_of(dft(x[0], false, true))}; }},
    {"dft inverse, by factors", {{{70, 2}}}, [](Graph&, Parameters x) -> Vars { return {square_of(dft(x[0], true))}; }},
    {"dft of nothing", {{{0, 2}}}, [](Graph&, Parameters x) -> Vars { return {square_of(dft(x[0]))}; }},
    {"dequantize",
     {{{3}}},
     [](Graph& g, Parameters scale) -> Vars {
       const Var zero = cast(indices(g, {3}, {0, 1, -2}), DType::i8);
       const Var y = dequantize(elements(g), scale[0], zero, [] {
         DequantizeAttributes attributes;
         attributes.axis = 1;
         return attributes;
       }());
       return {y * y};
     }},
    {"dequantize by one scale",
     {{{}}},
     [](Graph& g, Parameters scale) -> Vars {
       const Var y = dequantize(elements(g), scale[0], Var{});
       return {y * y};
     }},
    {"softmax", {{{2, 3, 2}}}, [](Graph&, Parameters x) -> Vars { return {softmax(x[0], 1)}; }},
    {"log_softmax", {{{2, 3}}}, [](Graph&, Parameters x) -> Vars { return {log_softmax(x[0])}; }},
    {"cross_entropy",
     {{{3, 4}}},
     [](Graph& g, Parameters x) -> Vars {
       const auto [loss, log_sum_exp] = cross_entropy(x[0], indices(g, {3}, {0, 3, 1}));
       return {loss, log_sum_exp};
     }},
    {"cross_entropy's loss alone",
     {{{2, 2, 3}}},
     [](Graph& g, Parameters x) -> Vars {
       return {cross_entropy(x[0], indices(g, {2, 2}, {0, 2, 1, 1})).loss};
     }},
    {"cross_entropy's log-sum-exp alone",
     {{{3}}},
     [](Graph& g, Parameters x) -> Vars { return {cross_entropy(x[0], indices(g, {}, {1})).log_sum_exp}; }},

    {"batch_norm",
     {{{3, 2, 2}}, {{2}}, {{2}}},
     [](Graph&, Parameters x) -> Vars {
       const BatchNorm b = batch_norm(x[0], x[1], x[2], 1e-2);
       return {b.y, b.mean, b.variance, b.rstd};
     }},
    {"batch_norm without parameters",
     {{{4, 2}}},
     [](Graph&, Parameters x) -> Vars {
       const Var y = batch_norm(x[0], {}, {}, 1e-2).y;
       return {y * y * y};
     }},
    {"batch_norm's statistics alone",
     {{{3, 2}}},
     [](Graph&, Parameters x) -> Vars {
       const BatchNorm b = batch_norm(x[0], {}, {}, 1e-2);
       return {b.mean * b.mean, b.variance};
     }},
    {"batch_norm_gradient",
     {{{3, 2, 2}}, {{3, 2, 2}}, {{2}}, {{2}, kPositive}, {{2}}},
     [](Graph&, Parameters x) -> Vars { return norm_gradient("batch_norm_gradient", BatchNormAttributes{}, x); }},
    {"batch_norm_inference",
     {{{2, 2, 2}}, {{2}}, {{2}, kPositive}, {{2}}, {{2}}},
     [](Graph&, Parameters x) -> Vars { return {batch_norm_inference(x[0], x[1], x[2], x[3], x[4], 1e-2)}; }},
    {"layer_norm",
     {{{2, 2, 3}}, {{2, 3}}, {{2, 3}}},
     [](Graph&, Parameters x) -> Vars {
       const Norm n = layer_norm(x[0], x[1], x[2], 1, 1e-2);
       return {n.y, n.mean, n.rstd};
     }},
    {"layer_norm over everything",
     {{{4}}, {{4}}},
     [](Graph&, Parameters x) -> Vars { return {layer_norm(x[0], x[1], {}, 0, 1e-2).y}; }},
    {"layer_norm_gradient",
     {{{2, 3}}, {{2, 3}}, {{2, 1}}, {{2, 1}, kPositive}, {{3}}},
     [](Graph&, Parameters x) -> Vars {
       LayerNormAttributes attributes;
       attributes.axis = 1;
       return norm_gradient("layer_norm_gradient", attributes, x);
     }},
    {"group_norm",
     {{{2, 4, 2}}, {{4}}, {{4}}},
     [](Graph&, Parameters x) -> Vars {
       const Norm n = group_norm(x[0], 2, x[1], x[2], 1e-2);
       return {n.y, n.mean, n.rstd};
     }},
    {"group_norm_gradient without a scale",
     {{{1, 4, 2}}, {{1, 4, 2}}, {{1, 2}}, {{1, 2}, kPositive}},
     [](Graph&, Parameters x) -> Vars {
       GroupNormAttributes attributes;
       attributes.groups = 2;
       return norm_gradient("group_norm_gradient", attributes, x);
     }},

    {"dropout",
     {{{3, 3}}},
     [](Graph& g, Parameters x) -> Vars { return {dropout(x[0] * x[0], random_state(g), 0.4).y}; }},
    {"dropout of everything",
     {{{4}}},
     [](Graph& g, Parameters x) -> Vars { return {dropout(x[0], random_state(g), 1).y}; }},

    {"sgd_momentum_update",
     {{{3}}, {{3}}, {{3}}, {{}, kPositive}},
     [](Graph&, Parameters x) -> Vars {
       SgdAttributes attributes;
       attributes.momentum = 0.9;
       attributes.weight_decay = 0.1;
       attributes.nesterov = true;
       const auto [parameter, velocity] = sgd_momentum_update(x[0], x[1], x[2], x[3], attributes);
       return {parameter * parameter, velocity};
     }},
    {"adam_update",
     {{{3}}, {{3}}, {{3}}, {{3}, kPositive}, {{}, kPositive}},
     [](Graph& g, Parameters x) -> Vars {
       AdamAttributes attributes;
       attributes.weight_decay = 0.1;
       const auto [parameter, m, v] = adam_update(x[0], x[1], x[2], x[3], x[4], step(g), attributes);
       return {parameter, m, v};
     }},
    {"adam_update with decoupled decay",
     {{{3}}, {{3}}, {{3}}, {{3}, kPositive}, {{}, kPositive}},
     [](Graph& g, Parameters x) -> Vars {
       AdamAttributes attributes;
       attributes.weight_decay = 0.1;
       attributes.decoupled = true;
       return {adam_update(x[0], x[1], x[2], x[3], x[4], step(g), attributes).parameter};
     }},

    {"call", {{{2}}, {{2}}}, [](Graph&, Parameters x) -> Vars { return call(product_and_sine(), x); }},
    {"call of which one result matters",
     {{{2}}, {{2}}},
     [](Graph&, Parameters x) -> Vars { return {call(product_and_sine(), x)[1]}; }},
    {"call within call",
     {{{2}}, {{2}}},
     [](Graph&, Parameters x) -> Vars {
       const auto outer = [](Parameters v) -> Vars {
         const Vars inner = call(product_and_sine(), v);
         return {inner[0] * inner[1] + v[0]};
       };
       return call(body({{2}, {2}}, outer), x);
     }},
    {"if taken",
     {{{2}}, {{2}}},
     [](Graph& g, Parameters x) -> Vars { return if_else(truth(g, true), product_and_sine(), sum_and_cosine(), x); }},
    {"if not taken",
     {{{2}}, {{2}}},
     [](Graph&, Parameters x) -> Vars {
       const Var never = lt(reduce_sum(x[0] * x[0]), -1.0);
       return if_else(never, product_and_sine(), sum_and_cosine(), x);
     }},
    {"scan", {{{2}}, {{3, 2}}, {{2, 2}}}, recurrent<false>},
    {"scan from the end", {{{2}}, {{3, 2}}, {{2, 2}}}, recurrent<true>},
    {"scan's last turn alone",
     {{{2}}, {{3, 2}}, {{2, 2}}},
     [](Graph& g, Parameters x) -> Vars { return {recurrent<false>(g, x)[0]}; }},
    {"scan's turns without the last carry",
     {{{2}}, {{3, 2}}, {{2, 2}}},
     [](Graph& g, Parameters x) -> Vars { return {recurrent<false>(g, x)[2]}; }},
    {"scan of no slices", {{{2}}, {{0, 2}}, {{2, 2}}}, recurrent<false>},
    {"scan of a length",
     {{{2}}, {{2}}},
     [](Graph&, Parameters x) -> Vars {
       return scan(body({{2}, {2}}, [](Parameters v) -> Vars { return {sin(v[0]) * v[1]}; }), x.first(1), {},
                   x.subspan(1), {.length = 3});
     }},
    {"scan that carries nothing",
     {{{3, 2}}, {{2}}},
     [](Graph&, Parameters x) -> Vars {
       return scan(body({{2}, {2}}, [](Parameters v) -> Vars { return {v[0] * v[0] * v[1]}; }), {}, x.first(1),
                   x.subspan(1));
     }},

    {"softmax of nothing",
     {{{0, 3}}},
     [](Graph&, Parameters x) -> Vars {
       return {softmax(x[0]), log_softmax(x[0])};
     }},
    {"cross_entropy of no examples",
     {{{0, 3}}},
     [](Graph& g, Parameters x) -> Vars { return {cross_entropy(x[0], indices(g, {0}, {})).loss}; }},
    {"batch_norm of no examples",
     {{{0, 2}}, {{2}}, {{2}}},
     [](Graph&, Parameters x) -> Vars { return {batch_norm(x[0], x[1], x[2]).y}; }},
    {"layer_norm of no examples",
     {{{0, 3}}, {{3}}, {{3}}},
     [](Graph&, Parameters x) -> Vars { return {layer_norm(x[0], x[1], x[2]).y}; }},
    {"group_norm of no examples",
     {{{0, 4, 2}}, {{4}}, {{4}}},
     [](Graph&, Parameters x) -> Vars { return {group_norm(x[0], 2, x[1], x[2]).y}; }},
    {"dropout of nothing",
     {{{0}}},
     [](Graph& g, Parameters x) -> Vars { return {dropout(x[0], random_state(g), 0.5).y}; }},
};

}  // namespace

std::span<const GradientCase> network_gradients() { return kCases; }

}  // namespace ml::test
