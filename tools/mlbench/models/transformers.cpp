// Transformers, attention written out.
#include <cmath>
#include <limits>
#include <numbers>
#include <string>
#include <vector>

#include "tools/mlbench/models/layers.h"
#include "tools/mlbench/models/models.h"

namespace ml::bench {
namespace {

constexpr std::int64_t kHeads = 12, kHeadWidth = 64, kWidth = kHeads * kHeadWidth, kLayers = 12;

// Indices as exporters write positions: a constant [1, count].
Var positions(Layers& layers, std::int64_t count) {
  std::vector<std::int64_t> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<std::int64_t>(i);
  return constant(layers.graph, make_constant(DType::i64, {1, count}, std::as_bytes(std::span(values))));
}

// --- BERT (Devlin et al., arXiv 1810.04805), base
// ---------------------------------------------------------------------

Var gelu_by_erf(Var x) { return x * (erf(x / std::numbers::sqrt2) + 1.0) * 0.5; }

Var bert_layer(Layers& layers, Var x, Var mask) {
  const Var query = split_heads(layers.linear(x, kWidth), kHeads);
  const Var key = split_heads(layers.linear(x, kWidth), kHeads);
  const Var value = split_heads(layers.linear(x, kWidth), kHeads);
  const Var scores = matmul(query, transpose(key, {0, 1, 3, 2})) / std::sqrt(static_cast<double>(kHeadWidth));
  const Var context = merge_heads(matmul(softmax(scores + mask), value));
  x = layers.layer_norm(layers.linear(context, kWidth) + x, 1e-12);
  const Var hidden = gelu_by_erf(layers.linear(x, 4 * kWidth, 2));
  return layers.layer_norm(layers.linear(hidden, kWidth) + x, 1e-12);
}

// --- GPT-2 (Radford et al. 2019), small
// -------------------------------------------------------------------------------

// "gelu_new" there.
Var gelu_by_tanh(Var x) {
  const Var inner = (x + pow(x, 3.0) * 0.044715) * std::sqrt(2 * std::numbers::inv_pi);
  return x * 0.5 * (tanh(inner) + 1.0);
}

// The lower triangle of [1, 1, tokens, tokens].
Var causal(Layers& layers, std::int64_t tokens) {
  std::vector<std::uint8_t> values(static_cast<std::size_t>(tokens * tokens));
  for (std::int64_t i = 0; i < tokens; ++i) {
    for (std::int64_t k = 0; k <= i; ++k) values[static_cast<std::size_t>(i * tokens + k)] = 1;
  }
  return constant(layers.graph,
                  make_constant(DType::boolean, {1, 1, tokens, tokens}, std::as_bytes(std::span(values))));
}

struct Cache {
  Var key, value;  // [N, heads, tokens, width]
};

Var gpt2_attention(Layers& layers, Var x, const Cache& past, Cache& present) {
  const std::int64_t tokens = x.shape()[1];
  const Var all = layers.linear(x, 3 * kWidth);
  const auto part = [&](std::int64_t i) {
    const auto end = std::numeric_limits<std::int64_t>::max();
    return split_heads(slice(all, {0, 0, i * kWidth}, {end, end, (i + 1) * kWidth}), kHeads);
  };
  const Var query = part(0);
  present = {part(1), part(2)};
  if (past.key) {
    const Var keys[] = {past.key, present.key}, values[] = {past.value, present.value};
    present = {concat(keys, 2), concat(values, 2)};
  }
  Var scores = matmul(query, transpose(present.key, {0, 1, 3, 2})) / std::sqrt(static_cast<double>(kHeadWidth));
  if (tokens > 1) {
    scores =
        select(causal(layers, tokens), scores, scalar(layers.graph, DType::f32, std::numeric_limits<float>::lowest()));
  }
  return layers.linear(merge_heads(matmul(softmax(scores), present.value)), kWidth, 0.2);
}

}  // namespace

Graph build_bert_base() {
  constexpr std::int64_t kTokens = 128, kWords = 30522;
  Layers layers("bert_base", 110);
  const Var ids = layers.input("input_ids", DType::i64, {kTokens});
  const Var attended = layers.input("attention_mask", DType::i64, {kTokens});
  const Var types = layers.input("token_type_ids", DType::i64, {kTokens});
  const Var words = gather(layers.random({kWords, kWidth}, 1), ids, 0);
  const Var segments = gather(layers.random({2, kWidth}, 0.3), types, 0);
  const Var places = gather(layers.random({512, kWidth}, 0.3), positions(layers, kTokens), 0);
  Var x = layers.layer_norm(words + segments + places, 1e-12);
  const Var mask = (1.0 - cast(unsqueeze(attended, {1, 2}), DType::f32)) * std::numeric_limits<float>::lowest();
  for (std::int64_t i = 0; i < kLayers; ++i) x = bert_layer(layers, x, mask);
  const Var first =
      reshape(slice(x, {0, 0, 0}, {std::numeric_limits<std::int64_t>::max(), 1, kWidth}), {kUnknown, kWidth});
  output("last_hidden_state", x);
  output("pooler_output", tanh(layers.linear(first, kWidth)));
  return std::move(layers.graph);
}

// `past` 0: a prompt, without inputs for the cache.
Graph build_gpt2(std::int64_t past, std::int64_t tokens) {
  constexpr std::int64_t kWords = 50257, kPlaces = 1024;
  Layers layers(past == 0 ? "gpt2_prefill" : "gpt2_decode", 124);
  const Var ids = layers.input("input_ids", DType::i64, {tokens});
  const Var where = past == 0 ? positions(layers, tokens) : layers.input("position_ids", DType::i64, {tokens});
  const Var embedding = layers.random({kWords, kWidth}, 0.05);
  const Var x0 = gather(embedding, ids, 0) + gather(layers.random({kPlaces, kWidth}, 0.05), where, 0);
  Var x = x0;
  std::vector<Cache> presents(kLayers);
  for (std::int64_t i = 0; i < kLayers; ++i) {
    Cache before;
    if (past != 0) {
      const std::string name = "past_key_values." + std::to_string(i);
      before.key = layers.input(name + ".key", DType::f32, {kHeads, past, kHeadWidth});
      before.value = layers.input(name + ".value", DType::f32, {kHeads, past, kHeadWidth});
    }
    Cache& present = presents[static_cast<std::size_t>(i)];
    x = x + gpt2_attention(layers, layers.layer_norm(x, 1e-5), before, present);
    const Var hidden = gelu_by_tanh(layers.linear(layers.layer_norm(x, 1e-5), 4 * kWidth));
    x = x + layers.linear(hidden, kWidth, 0.2);
  }
  output("logits", matmul(layers.layer_norm(x, 1e-5), embedding, false, true));
  for (std::size_t i = 0; i < presents.size(); ++i) {
    output("present." + std::to_string(i) + ".key", presents[i].key);
    output("present." + std::to_string(i) + ".value", presents[i].value);
  }
  return std::move(layers.graph);
}

}  // namespace ml::bench
