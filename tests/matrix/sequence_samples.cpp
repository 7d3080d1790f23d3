// Attention and recurrent layers.
#include "engine/graph/ops/attention.h"
#include "engine/graph/ops/recurrent.h"
#include "tests/matrix/sample.h"

namespace ml::test {
namespace {

auto scaled(double scale, bool causal = false, double softcap = 0) {
  return with<AttentionAttributes>([=](AttentionAttributes& a) {
    a.scale = scale;
    a.causal = causal;
    a.softcap = softcap;
  });
}
// From none to more than there are.
Input lengths(std::int64_t batch, std::int64_t most, DType dtype = DType::i64) {
  return {{batch}, Fill::index, dtype, most, {}};
}
Input mask(const Shape& shape) { return {shape, Fill::any, DType::boolean, 1, {}}; }

std::vector<Sample> attention() {
  const Input q{{2, 6, 5, 7}}, k{{2, 6, 9, 7}}, v{{2, 6, 9, 4}};
  const Input few_k{{2, 2, 9, 7}}, few_v{{2, 2, 9, 4}};
  const Input square{{2, 6, 9, 7}};
  return {
      {"one", {{{1, 1, 1, 1}}, {{1, 1, 1, 1}}, {{1, 1, 1, 1}}}, scaled(1)},
      {"no batch", {{{0, 2, 3, 4}}, {{0, 2, 5, 4}}, {{0, 2, 5, 3}}}, scaled(1)},
      {"no keys", {{{2, 2, 3, 4}}, {{2, 2, 0, 4}}, {{2, 2, 0, 3}}}, scaled(1)},
      {"no queries", {{{2, 2, 0, 4}}, {{2, 2, 3, 4}}, {{2, 2, 3, 3}}}, scaled(1, true)},
      {"empty heads", {{{2, 2, 3, 0}}, {{2, 2, 5, 0}}, {{2, 2, 5, 3}}}, scaled(1)},
      {"odd", {q, k, v}, scaled(0.25)},
      {"softcap", {q, k, v}, scaled(0.5, false, 2)},
      {"causal", {q, k, v}, scaled(0.25, true)},
      {"causal, square", {square, k, v}, scaled(0.25, true)},
      {"causal, fewer keys than queries", {k, q, {{2, 6, 5, 4}}}, scaled(0.25, true)},
      {"grouped", {q, few_k, few_v}, scaled(0.25)},
      {"grouped, causal", {q, few_k, few_v}, scaled(0.25, true)},
      {"bias", {q, k, v, {{5, 9}}}, scaled(0.25)},
      {"bias per head and key", {q, few_k, few_v, {{6, 1, 9}}}, scaled(0.25, true)},
      {"bias of f32 per query", {q, k, v, {{2, 1, 5, 1}, Fill::any, DType::f32}}, scaled(0.25, false, 3)},
      {"bias that hides", {q, k, v, {{2, 6, 5, 9}, Fill::mask}}, scaled(0.25)},
      {"scalar bias", {q, k, v, {{}}}, scaled(0.25)},
      {"mask", {q, k, v, mask({2, 1, 5, 9})}, scaled(0.25, false, 1)},
      {"mask per key", {q, few_k, few_v, mask({9})}, scaled(0.25, true)},
      {"mask that repeats keys", {q, k, v, mask({6, 5, 1})}, scaled(0.25)},
      {"lengths", {q, k, v, lengths(2, 12)}, scaled(0.25)},
      {"lengths of i32, causal", {q, few_k, few_v, lengths(2, 12, DType::i32)}, scaled(0.25, true)},
      {"bias and lengths", {q, k, v, {{5, 9}}, lengths(2, 12)}, scaled(0.25, true)},
      {"one query", {{{3, 4, 1, 16}}, {{3, 2, 37, 16}}, {{3, 2, 37, 16}}, lengths(3, 40)}, scaled(0.25)},
      {"one query, all keys", {{{1, 4, 1, 32}}, {{1, 4, 50, 32}}, {{1, 4, 50, 32}}}, scaled(0.125, true)},
      {"large", {{{2, 4, 70, 33}}, {{2, 4, 131, 33}}, {{2, 4, 131, 17}}}, scaled(0.125)},
      {"large, causal", {{{1, 6, 130, 64}}, {{1, 3, 130, 64}}, {{1, 3, 130, 64}}}, scaled(0.125, true)},
      {"large, mask, lengths",
       {{{2, 4, 67, 32}}, {{2, 4, 300, 32}}, {{2, 4, 300, 32}}, mask({2, 1, 67, 300}), lengths(2, 310)},
       scaled(0.125)},
      {"large, one query", {{{2, 8, 1, 64}}, {{2, 2, 301, 64}}, {{2, 2, 301, 64}}, lengths(2, 310)}, scaled(0.125)},
  };
}

auto direction(bool reverse = false) {
  return with<RecurrentAttributes>([=](RecurrentAttributes& a) { a.reverse = reverse; });
}

// What an LSTM (4 gates) or a GRU (3) takes.
struct Sizes {
  const char* label;
  std::int64_t steps, batch, directions, hidden;
};
constexpr Sizes kLayers[] = {
    {"one", 1, 1, 1, 1},    {"no steps", 0, 2, 1, 3},        {"no batch", 3, 0, 2, 3},
    {"odd", 4, 3, 1, 5},    {"both directions", 4, 3, 2, 5}, {"vectors", 5, 1, 2, 24},
    {"large", 7, 5, 2, 61},
};

std::vector<Sample> recurrent(std::int64_t gates, std::size_t states, bool biased) {
  std::vector<Sample> samples;
  for (const Sizes& s : kLayers) {
    std::vector<Input> inputs{{{s.steps, s.batch, s.directions, gates * s.hidden}},
                              {{s.directions, gates * s.hidden, s.hidden}, Fill::small}};
    inputs.insert(inputs.end(), states, Input{{s.directions, s.batch, s.hidden}});
    const std::string label(s.label);
    const auto add = [&](const char* what, std::initializer_list<Input> more, bool reverse = false) {
      samples.push_back({label + what, inputs, direction(reverse)});
      samples.back().inputs.insert(samples.back().inputs.end(), more);
    };
    const Input bias{{s.directions, s.hidden}};
    add("", {});
    add(", lengths", {lengths(s.batch, s.steps + 2)});
    if (s.directions == 1) add(", reverse", {lengths(s.batch, s.steps + 2, DType::i32)}, true);
    if (!biased) continue;
    add(", bias", {bias});
    add(", bias and lengths", {bias, lengths(s.batch, s.steps + 2)});
  }
  return samples;
}

}  // namespace

std::vector<OpSamples> sequence_samples() {
  return {
      {"attention", attention()},
      {"lstm", recurrent(4, 2, false)},
      {"gru", recurrent(3, 1, true)},
  };
}

}  // namespace ml::test
