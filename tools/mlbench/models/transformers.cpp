// Transformers, attention written out.
#include <cmath>
#include <limits>
#include <numbers>
#include <string>
#include <vector>

#include "engine/graph/build_dynamic.h"
#include "tools/mlbench/models/layers.h"
#include "tools/mlbench/models/models.h"

namespace ml::bench {
namespace {

constexpr std::int64_t kHeads = 12, kHeadWidth = 64, kWidth = kHeads * kHeadWidth, kLayers = 12;
constexpr std::int64_t kPlaces = 1024;  // of GPT-2

constexpr std::int64_t kEnd = std::numeric_limits<std::int64_t>::max();

// x from 0 to an extent that is told by an i64 vector of length 1, along an axis.
Var first(Var x, Var count, std::int64_t axis) {
  return slice_by(x, numbers(*x.graph, {0}), count, numbers(*x.graph, {1}), {axis});
}

// Indices as exporters write positions: a constant [1, tokens], cut where the tokens of `ids` are not known.
Var positions(Layers& layers, Var ids, std::int64_t most) {
  const std::int64_t tokens = ids.shape()[1], count = tokens == kUnknown ? most : tokens;
  std::vector<std::int64_t> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<std::int64_t>(i);
  const Var all = constant(layers.graph, make_constant(DType::i64, {1, count}, std::as_bytes(std::span(values))));
  return tokens == kUnknown ? first(all, extent(ids, 1), 1) : all;
}

// What a token sequence's extent is called where it isn't known.
std::vector<std::string> symbol_of(std::int64_t extent, std::string name) {
  return {extent == kUnknown ? std::move(name) : ""};
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

Var triangle(Layers& layers, std::int64_t tokens) {
  std::vector<std::uint8_t> values(static_cast<std::size_t>(tokens * tokens));
  for (std::int64_t i = 0; i < tokens; ++i) {
    for (std::int64_t k = 0; k <= i; ++k) values[static_cast<std::size_t>(i * tokens + k)] = 1;
  }
  return constant(layers.graph,
                  make_constant(DType::boolean, {1, 1, tokens, tokens}, std::as_bytes(std::span(values))));
}

// The lower triangle of [1, 1, tokens, tokens] for x [N, tokens, width].
Var causal(Layers& layers, Var x) {
  if (x.shape()[1] == kUnknown) {
    const Var tokens = extent(x, 1);
    return first(first(triangle(layers, kPlaces), tokens, 2), tokens, 3);
  }
  return triangle(layers, x.shape()[1]);
}

struct Cache {
  Var key, value;  // [N, heads, tokens, width]
};

// What tells a cache of fixed capacity where a token goes ([1]) and how many there are then ([N]); i64.
struct Filled {
  Var place, lengths;
};

Var gpt2_attention(Layers& layers, Var x, const Cache& past, const Filled& filled, Cache& present) {
  const Var all = layers.linear(x, 3 * kWidth);
  const auto part = [&](std::int64_t i) {
    return split_heads(slice(all, {0, 0, i * kWidth}, {kEnd, kEnd, (i + 1) * kWidth}), kHeads);
  };
  const Var query = part(0);
  present = {part(1), part(2)};
  const double scale = 1 / std::sqrt(static_cast<double>(kHeadWidth));
  if (filled.place) {
    present = {scatter(past.key, filled.place, present.key, 2, Reduction::set),
               scatter(past.value, filled.place, present.value, 2, Reduction::set)};
    AttentionAttributes attributes;
    attributes.scale = scale;
    const Var y = attention(query, present.key, present.value, {}, filled.lengths, attributes).y;
    return layers.linear(merge_heads(y), kWidth, 0.2);
  }
  if (past.key) {
    const Var keys[] = {past.key, present.key}, values[] = {past.value, present.value};
    present = {concat(keys, 2), concat(values, 2)};
  }
  Var scores = matmul(query, transpose(present.key, {0, 1, 3, 2})) / (1 / scale);
  if (x.shape()[1] != 1) {
    scores = select(causal(layers, x), scores, scalar(layers.graph, DType::f32, std::numeric_limits<float>::lowest()));
  }
  return layers.linear(merge_heads(matmul(softmax(scores), present.value)), kWidth, 0.2);
}

}  // namespace

Graph build_bert_base(std::int64_t tokens) {
  constexpr std::int64_t kWords = 30522, kMost = 512;
  Layers layers("bert_base", 110);
  const Var ids = layers.input("input_ids", DType::i64, {tokens}, symbol_of(tokens, "tokens"));
  const Var attended = layers.input("attention_mask", DType::i64, {tokens}, symbol_of(tokens, "tokens"));
  const Var types = layers.input("token_type_ids", DType::i64, {tokens}, symbol_of(tokens, "tokens"));
  const Var words = gather(layers.random({kWords, kWidth}, 1), ids, 0);
  const Var segments = gather(layers.random({2, kWidth}, 0.3), types, 0);
  const Var places = gather(layers.random({kMost, kWidth}, 0.3), positions(layers, ids, kMost), 0);
  Var x = layers.layer_norm(words + segments + places, 1e-12);
  const Var mask = (1.0 - cast(unsqueeze(attended, {1, 2}), DType::f32)) * std::numeric_limits<float>::lowest();
  for (std::int64_t i = 0; i < kLayers; ++i) x = bert_layer(layers, x, mask);
  const Var first = reshape(slice(x, {0, 0, 0}, {kEnd, 1, kWidth}), {kUnknown, kWidth});
  output("last_hidden_state", x);
  output("pooler_output", tanh(layers.linear(first, kWidth)));
  return std::move(layers.graph);
}

Graph build_gpt2(std::int64_t past, std::int64_t tokens, bool fixed) {
  constexpr std::int64_t kWords = 50257;
  Layers layers(past == 0 ? "gpt2_prefill" : "gpt2_decode", 124);
  const Var ids = layers.input("input_ids", DType::i64, {tokens}, symbol_of(tokens, "tokens"));
  const Var where = past == 0 ? positions(layers, ids, kPlaces)
                              : layers.input("position_ids", DType::i64, {tokens}, symbol_of(tokens, "tokens"));
  const Var embedding = layers.random({kWords, kWidth}, 0.05);
  const Var x0 = gather(embedding, ids, 0) + gather(layers.random({kPlaces, kWidth}, 0.05), where, 0);
  Var x = x0;
  Filled filled;
  if (fixed) {
    filled.place = input(layers.graph, "place", DType::i64, {1});
    filled.lengths = layers.input("lengths", DType::i64, {});
  }
  std::vector<Cache> presents(kLayers);
  for (std::int64_t i = 0; i < kLayers; ++i) {
    Cache before;
    if (past != 0) {
      const auto cache_input = [&](const std::string& part) {
        const std::string name = "past_key_values." + std::to_string(i) + part;
        return layers.input(name, DType::f32, {kHeads, past, kHeadWidth}, {"", past == kUnknown ? "past" : "", ""});
      };
      before.key = cache_input(".key");
      before.value = cache_input(".value");
    }
    Cache& present = presents[static_cast<std::size_t>(i)];
    x = x + gpt2_attention(layers, layers.layer_norm(x, 1e-5), before, filled, present);
    const Var hidden = gelu_by_tanh(layers.linear(layers.layer_norm(x, 1e-5), 4 * kWidth));
    x = x + layers.linear(hidden, kWidth, 0.2);
  }
  output("logits", matmul(layers.layer_norm(x, 1e-5), embedding, false, true));
  for (std::size_t i = 0; i < presents.size(); ++i) {
    output("present." + std::to_string(i) + ".key", presents[i].key);
    output("present." + std::to_string(i) + ".value", presents[i].value);
  }
  if (fixed) {
    const auto caches = static_cast<std::uint32_t>(2 * kLayers);
    const auto before = static_cast<std::uint32_t>(layers.graph.inputs().size()) - caches;
    for (std::uint32_t i = 0; i < caches; ++i) layers.graph.donate(before + i, 1 + i);
  }
  return std::move(layers.graph);
}

}  // namespace ml::bench
