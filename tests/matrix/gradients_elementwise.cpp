// Gradients of element-wise ops and activations.
#include "tests/matrix/gradients.h"

namespace ml::test {
namespace {

using Parameters = std::span<const Var>;

template <Var (*op)(Var)>
Vars unary(Graph&, Parameters x) {
  return {op(x[0])};
}
template <Var (*op)(Var, Var)>
Vars binary(Graph&, Parameters x) {
  return {op(x[0], x[1])};
}

constexpr Draw kNear1{Draw::Kind::uniform, 0.4, 1.2};
constexpr Draw kNegative{Draw::Kind::uniform, -2, -0.5};

const GradientCase kCases[] = {
    {"neg", {{{5}}}, unary<neg>},
    {"abs", {{{5}, kFraction}}, unary<abs>},
    {"sign", {{{5}, kFraction}}, unary<sign>},
    {"exp", {{{5}}}, unary<exp>},
    {"expm1", {{{5}}}, unary<expm1>},
    {"log", {{{5}, kPositive}}, unary<log>},
    {"log1p", {{{5}, kInside}}, unary<log1p>},
    {"sqrt", {{{5}, kPositive}}, unary<sqrt>},
    {"rsqrt", {{{5}, kPositive}}, unary<rsqrt>},
    {"reciprocal", {{{5}, kPositive}}, unary<reciprocal>},
    {"reciprocal of negative numbers", {{{5}, kNegative}}, unary<reciprocal>},
    {"sin", {{{5}}}, unary<sin>},
    {"cos", {{{5}}}, unary<cos>},
    {"tan", {{{5}, kInside}}, unary<tan>},
    {"asin", {{{5}, kInside}}, unary<asin>},
    {"acos", {{{5}, kInside}}, unary<acos>},
    {"atan", {{{5}}}, unary<atan>},
    {"sinh", {{{5}}}, unary<sinh>},
    {"cosh", {{{5}}}, unary<cosh>},
    {"tanh", {{{5}}}, unary<tanh>},
    {"erf", {{{5}}}, unary<erf>},
    {"sigmoid", {{{5}}}, unary<sigmoid>},
    {"floor", {{{5}, kFraction}}, unary<floor>},
    {"ceil", {{{5}, kFraction}}, unary<ceil>},
    {"round away from halves", {{{5}, kFraction}}, [](Graph&, Parameters x) -> Vars { return {round(x[0] + 0.5)}; }},
    {"relu", {{{7}, kFraction}}, unary<relu>},
    {"gelu", {{{5}}}, [](Graph&, Parameters x) -> Vars { return {gelu(x[0])}; }},
    {"gelu by tanh", {{{5}}}, [](Graph&, Parameters x) -> Vars { return {gelu(x[0], true)}; }},
    {"silu", {{{5}}}, unary<silu>},
    {"hard_swish", {{{5}}}, unary<hard_swish>},
    {"clamp", {{{7}, kFraction}}, [](Graph&, Parameters x) -> Vars { return {clamp(x[0], -1, 1)}; }},
    {"cast to what it is",
     {{{5}}},
     [](Graph&, Parameters x) -> Vars {
       auto attributes = std::make_shared<DTypeAttributes>();
       attributes->dtype = DType::f64;
       return {emit("cast", {x[0] * x[0]}, std::move(attributes))};
     }},
    {"cast through integers",
     {{{5}, kFraction}},
     [](Graph&, Parameters x) -> Vars { return {x[0] * cast(cast(x[0], DType::i32), DType::f64)}; }},

    {"add", {{{2, 3}}, {{2, 3}}}, binary<add>},
    {"add broadcasts", {{{4, 1, 3}}, {{2, 1}}}, binary<add>},
    {"add of a scalar", {{{}}, {{2, 3}}}, binary<add>},
    {"add of nothing", {{{0, 3}}, {{1, 3}}}, binary<add>},
    {"add of one value twice", {{{3}}}, [](Graph&, Parameters x) -> Vars { return {x[0] + x[0] * x[0]}; }},
    {"sub broadcasts", {{{3}}, {{2, 1}}}, binary<sub>},
    {"mul broadcasts", {{{3, 1}}, {{1, 2}}}, binary<mul>},
    {"mul of scalars", {{{}}, {{}}}, binary<mul>},
    {"div broadcasts", {{{2, 3}}, {{3}, kPositive}}, binary<div>},
    {"rem", {{{4}, {Draw::Kind::uniform, 3.2, 3.8}}, {{4}, {Draw::Kind::uniform, 1.3, 1.5}}}, binary<rem>},
    {"rem of negative numbers",
     {{{4}, {Draw::Kind::uniform, -3.8, -3.2}}, {{4}, {Draw::Kind::uniform, 1.3, 1.5}}},
     binary<rem>},
    {"pow", {{{4}, kPositive}, {{4}}}, binary<pow>},
    {"pow broadcasts", {{{2, 1}, kPositive}, {{3}}}, binary<pow>},
    {"pow of negative numbers", {{{4}, kNegative}}, [](Graph&, Parameters x) -> Vars { return {pow(x[0], 3)}; }},
    {"pow by zero, one and two",
     {{{3}, kPositive}},
     [](Graph& g, Parameters x) -> Vars { return {pow(x[0], cast(iota(g, DType::i64, {3}, 0), DType::f64))}; }},
    {"pow around exponent zero",
     {{{4}, kNear1}, {{4}}},
     [](Graph&, Parameters x) -> Vars {
       return {pow(x[0], x[1] - x[1] + x[0] - x[0])};  // exactly 0, with derivatives that must cancel
     }},
    {"maximum", {{{4}, {Draw::Kind::fraction, 0, 4}}, {{4}, {Draw::Kind::uniform, 1.8, 2.2}}}, binary<maximum>},
    {"minimum broadcasts",
     {{{2, 2}, {Draw::Kind::fraction, 0, 4}}, {{1}, {Draw::Kind::uniform, 1.8, 2.2}}},
     binary<minimum>},
    {"atan2", {{{4}, kPositive}, {{4}, kPositive}}, binary<atan2>},
    {"atan2 behind the axis", {{{4}, kPositive}, {{4}, kNegative}}, binary<atan2>},
    {"select",
     {{{2, 3}}, {{3}}},
     [](Graph& g, Parameters x) -> Vars {
       return {select(gt(iota(g, DType::i64, {2, 1}, 0), 0), x[0] * x[0], x[1] * x[1])};
     }},
};

}  // namespace

std::span<const GradientCase> elementwise_gradients() { return kCases; }

}  // namespace ml::test
