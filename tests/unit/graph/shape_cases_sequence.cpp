// Shape rules of attention and recurrent layers.
#include <limits>

#include "engine/graph/build_nn.h"
#include "engine/graph/build_recurrent.h"
#include "tests/unit/graph/shape_cases.h"

namespace ml::test {
namespace {

Var attend(Graph& g, const char* q, const char* k, const char* v, const char* bias = nullptr,
           const char* lengths = nullptr, const AttentionAttributes& attributes = {}) {
  const Var queries = in(g, q), keys = in(g, k), values = in(g, v);
  return attention(queries, keys, values, bias ? in(g, bias) : Var{}, lengths ? in(g, lengths) : Var{}, attributes).y;
}
AttentionAttributes softcap(double value) {
  AttentionAttributes attributes;
  attributes.softcap = value;
  return attributes;
}

const ShapeCase kSequence[] = {
    {"attention", [](Graph& g) { return attend(g, "f16[2, 6, ?, 8]", "f16[2, 3, 5, 8]", "f16[2, 3, 5, 4]"); },
     "f16[2, 6, ?, 4] f32[2, 6, ?]"},
    {"attention with a bias and lengths",
     [](Graph& g) {
       return attend(g, "bf16[2, 6, 4, 8]", "bf16[2, 3, 5, 8]", "bf16[2, 3, 5, 4]", "f32[6, 1, 5]", "i32[2]");
     },
     "bf16[2, 6, 4, 4] f32[2, 6, 4]"},
    {"attention with a mask",
     [](Graph& g) { return attend(g, "f64[?, 6, 4, 8]", "f64[2, 6, 5, 8]", "f64[2, 6, 5, 4]", "bool[4, 5]"); },
     "f64[2, 6, 4, 4] f64[2, 6, 4]"},
    {"attention with lengths alone",
     [](Graph& g) { return attend(g, "f32[2, 6, 4, 8]", "f32[2, 6, 5, 8]", "f32[2, 6, 5, 4]", "i64[2]"); },
     "f32[2, 6, 4, 4] f32[2, 6, 4]"},
    {"attention of matrices", [](Graph& g) { return attend(g, "f32[4, 8]", "f32[5, 8]", "f32[5, 8]"); },
     "! attention: input 0 wants rank 4"},
    {"attention of integers",
     [](Graph& g) { return attend(g, "i32[1, 1, 4, 8]", "i32[1, 1, 4, 8]", "i32[1, 1, 4, 8]"); },
     "! attention: wants a floating dtype"},
    {"attention of other keys",
     [](Graph& g) { return attend(g, "f32[1, 1, 4, 8]", "f16[1, 1, 4, 8]", "f32[1, 1, 4, 8]"); },
     "! attention: operands have different dtypes: f32[1, 1, 4, 8] and f16[1, 1, 4, 8]"},
    {"attention of heads of other sizes",
     [](Graph& g) { return attend(g, "f32[1, 1, 4, 8]", "f32[1, 1, 4, 7]", "f32[1, 1, 4, 8]"); },
     "! attention: sizes of the heads of queries and keys differ"},
    {"attention of fewer values",
     [](Graph& g) { return attend(g, "f32[1, 1, 4, 8]", "f32[1, 1, 4, 8]", "f32[1, 1, 3, 8]"); },
     "! attention: numbers of keys and values differ"},
    {"attention of groups that do not divide",
     [](Graph& g) { return attend(g, "f32[1, 5, 4, 8]", "f32[1, 2, 4, 8]", "f32[1, 2, 4, 8]"); },
     "! attention: 5 heads of queries do not share 2 heads of keys evenly"},
    {"attention with a wider bias",
     [](Graph& g) { return attend(g, "f32[1, 2, 4, 8]", "f32[1, 2, 4, 8]", "f32[1, 2, 4, 8]", "f32[3, 1, 4, 4]"); },
     "! attention: bias [3, 1, 4, 4] does not broadcast to the scores [1, 2, 4, 4]"},
    {"attention with an integer bias",
     [](Graph& g) { return attend(g, "f32[1, 2, 4, 8]", "f32[1, 2, 4, 8]", "f32[1, 2, 4, 8]", "i32[4, 4]"); },
     "! attention: lengths i32[4, 4] want shape [1]"},
    {"attention with a narrow bias",
     [](Graph& g) { return attend(g, "f32[1, 2, 4, 8]", "f32[1, 2, 4, 8]", "f32[1, 2, 4, 8]", "f16[4, 4]"); },
     "! attention: bias f16[4, 4] wants dtype bool, f32 or f32"},
    {"attention with two biases",
     [](Graph& g) { return attend(g, "f32[1, 2, 4, 8]", "f32[1, 2, 4, 8]", "f32[1, 2, 4, 8]", "f32[4, 4]", "f32[1]"); },
     "! attention: wants a bias and then lengths, got f32[4, 4] and f32[1]"},
    {"attention with a negative softcap",
     [](Graph& g) {
       return attend(g, "f32[1, 2, 4, 8]", "f32[1, 2, 4, 8]", "f32[1, 2, 4, 8]", nullptr, nullptr, softcap(-1));
     },
     "! attention: its softcap is -1"},
    {"attention with a softcap that is no number",
     [](Graph& g) {
       return attend(g, "f32[1, 2, 4, 8]", "f32[1, 2, 4, 8]", "f32[1, 2, 4, 8]", nullptr, nullptr,
                     softcap(std::numeric_limits<double>::quiet_NaN()));
     },
     "! attention: its softcap is nan"},

    {"lstm",
     [](Graph& g) {
       const Var gates = in(g, "f16[?, 3, 2, 20]"), r = in(g, "f16[2, 20, 5]"), state = in(g, "f16[2, 3, 5]");
       return lstm(gates, r, state, state).y;
     },
     "f16[?, 3, 2, 5] f16[2, 3, 5] f16[2, 3, 5]"},
    {"lstm in reverse with lengths",
     [](Graph& g) {
       const Var gates = in(g, "f32[4, 3, 1, 20]"), r = in(g, "f32[1, 20, 5]"), state = in(g, "f32[1, 3, 5]");
       return lstm(gates, r, state, state, in(g, "i32[3]"), true).y;
     },
     "f32[4, 3, 1, 5] f32[1, 3, 5] f32[1, 3, 5]"},
    {"lstm in both directions, in reverse",
     [](Graph& g) {
       const Var gates = in(g, "f32[4, 3, 2, 20]"), r = in(g, "f32[2, 20, 5]"), state = in(g, "f32[2, 3, 5]");
       return lstm(gates, r, state, state, {}, true).y;
     },
     "! lstm: of two directions the second is the reverse one"},
    {"lstm in three directions",
     [](Graph& g) {
       const Var gates = in(g, "f32[4, 3, 3, 20]"), r = in(g, "f32[3, 20, 5]"), state = in(g, "f32[3, 3, 5]");
       return lstm(gates, r, state, state).y;
     },
     "! lstm: wants one or two directions"},
    {"lstm with three gates",
     [](Graph& g) {
       const Var gates = in(g, "f32[4, 3, 1, 15]"), r = in(g, "f32[1, 15, 5]"), state = in(g, "f32[1, 3, 5]");
       return lstm(gates, r, state, state).y;
     },
     "! lstm: gates f32[4, 3, 1, 15] wants shape [4, 3, 1, 20]"},
    {"lstm with another state",
     [](Graph& g) {
       const Var gates = in(g, "f32[4, 3, 1, 20]"), r = in(g, "f32[1, 20, 5]"), state = in(g, "f32[1, 2, 5]");
       return lstm(gates, r, state, state).y;
     },
     "! lstm: state f32[1, 2, 5] wants shape [1, 3, 5]"},
    {"lstm with a narrow state",
     [](Graph& g) {
       const Var gates = in(g, "f32[4, 3, 1, 20]"), r = in(g, "f32[1, 20, 5]"), state = in(g, "f16[1, 3, 5]");
       return lstm(gates, r, state, state).y;
     },
     "! lstm: operands have different dtypes: f32[4, 3, 1, 20] and f16[1, 3, 5]"},
    {"lstm with lengths that are floats",
     [](Graph& g) {
       const Var gates = in(g, "f32[4, 3, 1, 20]"), r = in(g, "f32[1, 20, 5]"), state = in(g, "f32[1, 3, 5]");
       return lstm(gates, r, state, state, in(g, "f32[3]")).y;
     },
     "! lstm: wants i32 or i64 indices"},
    {"gru",
     [](Graph& g) {
       const Var gates = in(g, "f32[4, ?, 2, 15]"), r = in(g, "f32[2, 15, 5]"), state = in(g, "f32[2, ?, 5]");
       return gru(gates, r, state).y;
     },
     "f32[4, ?, 2, 5] f32[2, ?, 5]"},
    {"gru with a bias and lengths",
     [](Graph& g) {
       const Var gates = in(g, "bf16[4, 3, 1, 15]"), r = in(g, "bf16[1, 15, 5]"), state = in(g, "bf16[1, 3, 5]");
       return gru(gates, r, state, in(g, "bf16[1, 5]"), in(g, "i64[3]"), true).y;
     },
     "bf16[4, 3, 1, 5] bf16[1, 3, 5]"},
    {"gru with another bias",
     [](Graph& g) {
       const Var gates = in(g, "f32[4, 3, 1, 15]"), r = in(g, "f32[1, 15, 5]"), state = in(g, "f32[1, 3, 5]");
       return gru(gates, r, state, in(g, "f32[15]")).y;
     },
     "! gru: bias f32[15] wants shape [1, 5]"},
};

}  // namespace

std::span<const ShapeCase> sequence_cases() { return kSequence; }

}  // namespace ml::test
