// Shape rules of control flow and of fused groups.
#include "engine/graph/ops/control.h"

#include <limits>

#include "engine/graph/build_nn.h"
#include "tests/unit/graph/bodies.h"
#include "tests/unit/graph/shape_cases.h"

namespace ml::test {

GraphPtr body(std::string_view types, BuildBody build) {
  auto graph = std::make_shared<Graph>();
  graph->name = "body";
  std::vector<Var> inputs;
  while (!types.empty()) {
    const std::size_t end = types.find(']') + 1;
    inputs.push_back(in(*graph, types.substr(0, end)));
    types.remove_prefix(std::min(end + 1, types.size()));
  }
  std::size_t number = 0;
  for (const Var& result : build(inputs)) output("y" + std::to_string(number++), result);
  return graph;
}

namespace {

using Vars = std::span<const Var>;
using Results = std::vector<Var>;

GraphPtr doubling() {
  return body("f32[2, 3]", [](Vars x) -> Results { return {x[0] + x[0]}; });
}

// carry + slice * captured -> carry; the slice's square is stacked.
GraphPtr accumulating() {
  return body("f32[3] f32[3] f32[3]", [](Vars x) -> Results { return {x[0] + x[1] * x[2], x[1] * x[1]}; });
}

Var plain_convolution(Var x, Var weights) { return convolution(x, weights, Var{}, Windows::unit(2)); }

const ShapeCase kControl[] = {
    {"call",
     [](Graph& g) {
       const Var x = in(g, "f32[2, ?]");
       return call(doubling(), std::span(&x, 1))[0];
     },
     "f32[2, 3]"},
    {"call with another type",
     [](Graph& g) {
       const Var x = in(g, "f32[2, 4]");
       return call(doubling(), std::span(&x, 1))[0];
     },
     "! call: argument 0 is f32[2, 4], wanted f32[2, 3]"},
    {"call of nothing",
     [](Graph& g) {
       const Var x = in(g, "f32[2, 4]");
       return call(nullptr, std::span(&x, 1))[0];
     },
     "! call: its body is missing"},
    {"if",
     [](Graph& g) {
       const Var x = in(g, "f32[2, 3]");
       return if_else(in(g, "bool[]"), doubling(), doubling(), std::span(&x, 1))[0];
     },
     "f32[2, 3]"},
    {"if with different results",
     [](Graph& g) {
       const Var x = in(g, "f32[2, 3]");
       const GraphPtr sum = body("f32[2, 3]", [](Vars v) -> Results { return {reduce_sum(v[0])}; });
       return if_else(in(g, "bool[]"), doubling(), sum, std::span(&x, 1))[0];
     },
     "! if: output 0 of the else_body is f32[], of the then_body f32[2, 3]"},
    {"if of a number",
     [](Graph& g) {
       const Var x = in(g, "f32[2, 3]");
       return if_else(in(g, "i32[]"), doubling(), doubling(), std::span(&x, 1))[0];
     },
     "! if: wants bool, got i32[]"},
    {"while",
     [](Graph& g) {
       const GraphPtr condition = body("i64[] i64[]", [](Vars x) -> Results { return {lt(x[0], x[1])}; });
       const GraphPtr turn = body("i64[] i64[]", [](Vars x) -> Results { return {x[0] + 1.0}; });
       const Var start = in(g, "i64[]"), limit = in(g, "i64[]");
       return while_loop(condition, turn, std::span(&start, 1), std::span(&limit, 1))[0];
     },
     "i64[]"},
    {"while with a condition that is a number",
     [](Graph& g) {
       const GraphPtr turn = body("i64[]", [](Vars x) -> Results { return {x[0] + 1.0}; });
       const Var start = in(g, "i64[]");
       return while_loop(turn, turn, std::span(&start, 1))[0];
     },
     "! while: output of the condition 0 is i64[], wanted bool[]"},
    {"scan",
     [](Graph& g) {
       const Var carry = in(g, "f32[3]"), slices = in(g, "f32[?, 3]"), captured = in(g, "f32[3]");
       return scan(accumulating(), std::span(&carry, 1), std::span(&slices, 1), std::span(&captured, 1))[0];
     },
     "f32[3] f32[?, 3]"},
    {"scan over nothing but a length",
     [](Graph& g) {
       const Var carry = in(g, "f32[2, 3]");
       return scan(doubling(), std::span(&carry, 1), {}, {}, {.length = 7})[0];
     },
     "f32[2, 3]"},
    {"scan without a length",
     [](Graph& g) {
       const Var carry = in(g, "f32[2, 3]");
       return scan(doubling(), std::span(&carry, 1), {})[0];
     },
     "! scan: wants a length, because nothing is scanned"},
    {"scan of another length",
     [](Graph& g) {
       const Var carry = in(g, "f32[3]"), slices = in(g, "f32[4, 3]"), captured = in(g, "f32[3]");
       return scan(accumulating(), std::span(&carry, 1), std::span(&slices, 1), std::span(&captured, 1),
                   {.length = 5})[0];
     },
     "! scan: input 1 has 4 slices, wanted 5"},
    {"scan of scalars",
     [](Graph& g) {
       const Var slices = in(g, "f32[]");
       return scan(doubling(), {}, std::span(&slices, 1))[0];
     },
     "! scan: cannot take slices of a scalar, input 0"},
    {"scan that changes what it carries",
     [](Graph& g) {
       const GraphPtr turn = body("f32[2]", [](Vars x) -> Results { return {reduce_sum(x[0])}; });
       const Var carry = in(g, "f32[2]");
       return scan(turn, std::span(&carry, 1), {}, {}, {.length = 2})[0];
     },
     "! scan: carried output of the body 0 is f32[], wanted f32[2]"},
    {"scan with counts that do not fit",
     [](Graph& g) {
       auto made = attributes<ScanAttributes>([](auto& a) {
         a.body = doubling();
         a.carried = 1;
         a.scanned = std::numeric_limits<std::int64_t>::max();
       });
       return emit("scan", {in(g, "f32[2, 3]")}, made);
     },
     "! scan: scanned is 9223372036854775807 with 1 inputs"},
    {"fused",
     [](Graph& g) {
       const GraphPtr sum = body("f32[2, 3]", [](Vars x) -> Results { return {reduce_sum(exp(x[0]), {1})}; });
       const Var x = in(g, "f32[2, 3]");
       return fused(sum, std::span(&x, 1))[0];
     },
     "f32[2]"},
    {"fused with a matmul",
     [](Graph& g) {
       const GraphPtr product = body("f32[3, 3]", [](Vars x) -> Results { return {matmul(x[0], x[0])}; });
       const Var x = in(g, "f32[3, 3]");
       return fused(product, std::span(&x, 1))[0];
     },
     "! fused: its body cannot hold matmul"},
    {"fused that goes on after a reduction",
     [](Graph& g) {
       const GraphPtr after = body("f32[3]", [](Vars x) -> Results { return {exp(reduce_sum(x[0]))}; });
       const Var x = in(g, "f32[3]");
       return fused(after, std::span(&x, 1))[0];
     },
     "! fused: its body cannot hold exp after a reduction"},
    {"fused_contraction",
     [](Graph& g) {
       const GraphPtr product =
           body("f32[2, 3] f32[3, 4] f32[4]", [](Vars x) -> Results { return {relu(matmul(x[0], x[1]) + x[2])}; });
       const Var x[] = {in(g, "f32[2, 3]"), in(g, "f32[3, 4]"), in(g, "f32[4]")};
       return fused_contraction(product, x);
     },
     "f32[2, 4]"},
    {"fused_contraction of other types",
     [](Graph& g) {
       const GraphPtr product =
           body("f32[2, 3] f32[3, 4]", [](Vars x) -> Results { return {relu(matmul(x[0], x[1]))}; });
       const Var x[] = {in(g, "f32[2, 3]"), in(g, "f32[3, 5]")};
       return fused_contraction(product, x);
     },
     "! fused_contraction: input 1 is f32[3, 5], wanted f32[3, 4]"},
    {"fused_contraction with another number of inputs",
     [](Graph& g) {
       const GraphPtr product =
           body("f32[2, 3] f32[3, 4] f32[4]", [](Vars x) -> Results { return {matmul(x[0], x[1]) + x[2]}; });
       const Var x[] = {in(g, "f32[2, 3]"), in(g, "f32[3, 4]")};
       return fused_contraction(product, x);
     },
     "! fused_contraction: its body takes 3 inputs, not 2"},
    {"fused_contraction that begins with something else",
     [](Graph& g) {
       const GraphPtr sum = body("f32[2, 3] f32[2, 3]", [](Vars x) -> Results { return {x[0] + x[1]}; });
       const Var x[] = {in(g, "f32[2, 3]"), in(g, "f32[2, 3]")};
       return fused_contraction(sum, x);
     },
     "! fused_contraction: its body does not begin with a contraction of its first inputs"},
    {"fused_contraction with another product in it",
     [](Graph& g) {
       const GraphPtr products =
           body("f32[3, 3] f32[3, 3]", [](Vars x) -> Results { return {matmul(matmul(x[0], x[1]), x[1])}; });
       const Var x[] = {in(g, "f32[3, 3]"), in(g, "f32[3, 3]")};
       return fused_contraction(products, x);
     },
     "! fused_contraction: its body cannot hold matmul behind the contraction"},
    {"fused_contraction with another result",
     [](Graph& g) {
       const GraphPtr larger =
           body("f32[2, 3] f32[3, 4] f32[5, 1, 1]", [](Vars x) -> Results { return {matmul(x[0], x[1]) + x[2]}; });
       const Var x[] = {in(g, "f32[2, 3]"), in(g, "f32[3, 4]"), in(g, "f32[5, 1, 1]")};
       return fused_contraction(larger, x);
     },
     "! fused_contraction: its result is f32[5, 2, 4], the contraction's f32[2, 4]"},
    {"fused_convolutions",
     [](Graph& g) {
       const GraphPtr both = body("f32[1, 2, 5, 6] f32[4, 2, 1, 1] f32[4, 1, 3, 3]", [](Vars x) -> Results {
         return {convolution(plain_convolution(x[0], x[1]), x[2], Var{}, Windows::unit(2), 4)};
       });
       const Var x[] = {in(g, "f32[1, 2, 5, 6]"), in(g, "f32[4, 2, 1, 1]"), in(g, "f32[4, 1, 3, 3]")};
       return fused_convolutions(both, x);
     },
     "f32[1, 4, 3, 4]"},
    {"fused_convolutions of one",
     [](Graph& g) {
       const GraphPtr one = body("f32[1, 2, 5, 6] f32[4, 2, 1, 1] f32[4]",
                                 [](Vars x) -> Results { return {convolution(x[0], x[1], x[2], Windows::unit(2))}; });
       const Var x[] = {in(g, "f32[1, 2, 5, 6]"), in(g, "f32[4, 2, 1, 1]"), in(g, "f32[4]")};
       return fused_convolutions(one, x);
     },
     "! fused_convolutions: its body has 1 nodes, wanted 2 convolutions or more"},
    {"fused_convolutions with something else in it",
     [](Graph& g) {
       const GraphPtr other = body("f32[1, 2, 5, 6] f32[2, 2, 1, 1] f32[2, 2, 1, 1]", [](Vars x) -> Results {
         return {plain_convolution(exp(plain_convolution(x[0], x[1])), x[2])};
       });
       const Var x[] = {in(g, "f32[1, 2, 5, 6]"), in(g, "f32[2, 2, 1, 1]"), in(g, "f32[2, 2, 1, 1]")};
       return fused_convolutions(other, x);
     },
     "! fused_convolutions: its body cannot hold exp"},
    {"fused_convolutions beside each other",
     [](Graph& g) {
       const GraphPtr beside = body("f32[1, 2, 5, 6] f32[2, 2, 1, 1] f32[2, 2, 1, 1]", [](Vars x) -> Results {
         (void)plain_convolution(x[0], x[1]);
         return {plain_convolution(x[0], x[2])};
       });
       const Var x[] = {in(g, "f32[1, 2, 5, 6]"), in(g, "f32[2, 2, 1, 1]"), in(g, "f32[2, 2, 1, 1]")};
       return fused_convolutions(beside, x);
     },
     "! fused_convolutions: node 1 of its body does not take the one before as its image"},
    {"fused_convolutions that answer the first as well",
     [](Graph& g) {
       const GraphPtr two = body("f32[1, 2, 5, 6] f32[2, 2, 1, 1] f32[2, 2, 1, 1]", [](Vars x) -> Results {
         const Var first = plain_convolution(x[0], x[1]);
         return {first, plain_convolution(first, x[2])};
       });
       const Var x[] = {in(g, "f32[1, 2, 5, 6]"), in(g, "f32[2, 2, 1, 1]"), in(g, "f32[2, 2, 1, 1]")};
       return fused_convolutions(two, x);
     },
     "! fused_convolutions: its body does not answer its last convolution alone"},
};

}  // namespace

std::span<const ShapeCase> control_cases() { return kControl; }

}  // namespace ml::test
