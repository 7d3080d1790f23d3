// Gradients of attention and recurrent layers.
#include "engine/graph/build_nn.h"
#include "engine/graph/build_recurrent.h"
#include "tests/matrix/gradients.h"

namespace ml::test {
namespace {

using Parameters = std::span<const Var>;

Vars results(const Attention& a) { return {a.y, a.log_sum_exp}; }
AttentionAttributes attributes(bool causal, double softcap = 0) {
  AttentionAttributes a;
  a.scale = 0.75;
  a.softcap = softcap;
  a.causal = causal;
  return a;
}

const GradientCase kCases[] = {
    {"attention",
     {{{1, 2, 2, 2}}, {{1, 2, 3, 2}}, {{1, 2, 3, 2}}},
     [](Graph&, Parameters x) -> Vars { return results(attention(x[0], x[1], x[2], {}, {}, attributes(false))); }},
    {"attention of groups, with a bias and a softcap",
     {{{1, 4, 1, 2}}, {{1, 2, 2, 2}}, {{1, 2, 2, 1}}, {{4, 1, 2}}},
     [](Graph&, Parameters x) -> Vars {
       return results(attention(x[0], x[1], x[2], x[3], {}, attributes(false, 1.5)));
     }},
    {"attention that is causal",
     {{{1, 1, 3, 2}}, {{1, 1, 3, 2}}, {{1, 1, 3, 2}}},
     [](Graph&, Parameters x) -> Vars { return results(attention(x[0], x[1], x[2], {}, {}, attributes(true))); }},
    {"attention's result alone, with queries that see nothing",
     {{{2, 1, 2, 2}}, {{2, 1, 3, 2}}, {{2, 1, 3, 1}}},
     [](Graph& g, Parameters x) -> Vars {
       return {attention(x[0], x[1], x[2], {}, indices(g, {2}, {2, 0}), attributes(false)).y};
     }},
    {"attention's log-sum-exp alone",
     {{{1, 1, 2, 2}}, {{1, 1, 3, 2}}, {{1, 1, 3, 1}}},
     [](Graph&, Parameters x) -> Vars { return {attention(x[0], x[1], x[2], {}, {}, attributes(false)).log_sum_exp}; }},
    {"attention of no batch",
     {{{0, 1, 2, 2}}, {{0, 1, 3, 2}}, {{0, 1, 3, 1}}},
     [](Graph&, Parameters x) -> Vars { return {attention(x[0], x[1], x[2], {}, {}, attributes(true)).y}; }},

    {"lstm",
     {{{2, 1, 2, 8}}, {{2, 8, 2}}, {{2, 1, 2}}, {{2, 1, 2}}},
     [](Graph&, Parameters x) -> Vars {
       const Recurrent done = lstm(x[0], x[1], x[2], x[3]);
       return {done.y, done.h, done.c};
     }},
    {"lstm of sequences of several lengths",
     {{{2, 2, 1, 4}}, {{1, 4, 1}}, {{1, 2, 1}}, {{1, 2, 1}}},
     [](Graph& g, Parameters x) -> Vars {
       const Recurrent done = lstm(x[0], x[1], x[2], x[3], indices(g, {2}, {1, 2}), true);
       return {done.y, done.h, done.c};
     }},
    {"gru",
     {{{2, 1, 2, 6}}, {{2, 6, 2}}, {{2, 1, 2}}},
     [](Graph&, Parameters x) -> Vars {
       const Recurrent done = gru(x[0], x[1], x[2]);
       return {done.y, done.h};
     }},
    {"gru that resets behind the product",
     {{{2, 2, 1, 6}}, {{1, 6, 2}}, {{1, 2, 2}}, {{1, 2}}},
     [](Graph& g, Parameters x) -> Vars {
       const Recurrent done = gru(x[0], x[1], x[2], x[3], indices(g, {2}, {2, 1}));
       return {done.y, done.h};
     }},
};

}  // namespace

std::span<const GradientCase> sequence_gradients() { return kCases; }

}  // namespace ml::test
