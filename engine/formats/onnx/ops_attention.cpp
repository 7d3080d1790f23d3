// Attention, and what models with attention or linear attention have around it.
#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/formats/onnx/extents.h"
#include "engine/graph/build_control.h"
#include "engine/graph/build_dynamic.h"
#include "engine/graph/build_nn.h"
#include "engine/graph/ops/movement.h"

namespace ml::onnx {
namespace {

using Node = const NodeContext&;
using Results = std::vector<Var>;
constexpr int kAny = kLatestOpset;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// 0, 1, ... along a dimension as long as dimension `axis` of x.
Var positions(Node n, Var x, int axis) { return count_up(n, extent_of(x, axis), DType::i64); }

// [B, L, heads d] as [B, L, heads, d].
Var split_heads(Node n, Var x, std::int64_t heads, const char* attribute) {
  if (x.rank() != 3) n.invalid("wants an operand [batch, length, heads x size], got " + x.shape().str());
  const std::int64_t hidden = x.shape()[2];
  if (hidden == kUnknown) n.unsupported("an operand whose last dimension is not known");
  if (heads <= 0 || hidden % heads != 0)
    n.invalid(std::string(attribute) + " is " + std::to_string(heads) + " for an operand " + x.shape().str());
  return reshaped(x, {kept(x.shape()[0], 0), kept(x.shape()[1], 1), heads, hidden / heads});
}
Var to_heads(Node n, Var x, const char* attribute) {
  if (x.rank() == 4) return x;
  return transpose(split_heads(n, x, n.integer(attribute, 0), attribute), {0, 2, 1, 3});
}
// [B, heads, L, d] as [B, L, heads d].
Var from_heads(Var x) {
  return reshaped(transpose(x, {0, 2, 1, 3}), {reshape_keeps(0), reshape_keeps(1), x.shape()[1] * x.shape()[3]});
}

// x [B, H, L, m] times y [B, G, m, n], or its transpose: head h with that of its group, h / (H / G).
Var product(Node n, Var x, Var y, bool transpose_y) {
  const std::int64_t heads = x.shape()[1], groups = y.shape()[1];
  if (groups <= 0 || heads % groups != 0)
    n.invalid(std::to_string(heads) + " heads of queries for " + std::to_string(groups) + " of keys");
  if (heads == groups) return matmul(x, y, false, transpose_y);
  const Var grouped = reshaped(x, {reshape_keeps(0), groups, heads / groups, reshape_keeps(2), reshape_keeps(3)});
  const Var result = matmul(grouped, unsqueeze(y, {2}), false, transpose_y);
  return reshaped(result, {reshape_keeps(0), heads, reshape_keeps(3), reshape_keeps(4)});
}

// Attention and its masks: what the mask input says, and what is_causal and nonpad_kv_seqlen say besides.
class AttentionImport {
 public:
  explicit AttentionImport(Node n) : n_(n) {
    q_ = to_heads(n, n.in(0), "q_num_heads");
    new_k_ = to_heads(n, n.in(1), "kv_num_heads");
    const Var new_v = to_heads(n, n.in(2), "kv_num_heads");
    if (n.has(4) != n.has(5)) n.invalid("a past key needs a past value, and the other way round");
    k_ = n.has(4) ? concat(std::vector<Var>{n.in(4), new_k_}, 2) : new_k_;
    v_ = n.has(5) ? concat(std::vector<Var>{n.in(5), new_v}, 2) : new_v;
    for (const Var& x : {q_, k_, v_}) {
      if (x.rank() != 4 || x.shape()[1] == kUnknown || x.shape()[3] == kUnknown)
        n.unsupported("an operand " + x.shape().str() + " without known heads");
    }
    const DType precision = n.dtype("softmax_precision", DType::f32);
    const bool wide = precision == DType::f64 || q_.dtype() == DType::f64 || v_.dtype() == DType::f64;
    dtype_ = wide ? DType::f64 : q_.dtype() == v_.dtype() ? q_.dtype() : DType::f32;
    scale_ = n.number("scale", 1 / std::sqrt(static_cast<double>(q_.shape()[3])));
    softcap_ = n.number("softcap", 0);
    mask_ = read_mask();
    past_ = n.has(4) ? extent_of(n.in(4), 2) : number_of(n.graph, 0);
    causal_ = n.integer("is_causal", 0) != 0;
    if (n.has(6)) padding_ = cast(n.in(6), DType::i64);
  }

  Results run() {
    Var y = cast(attend(), q_.dtype());
    if (n_.in(0).rank() == 3) y = from_heads(y);
    Results results{y, k_, v_};
    if (n_.wants_output(3)) results.push_back(scores());
    return results;
  }

 private:
  Var read_mask() const {
    if (!n_.has(3)) return {};
    Var mask = n_.in(3);
    if (mask.dtype() != DType::boolean) mask = cast(mask, dtype_);
    if (n_.version() < 24 || mask.rank() == 0) return mask;
    // The keys behind a mask that is too short are hidden.
    const std::int64_t keys = k_.shape()[2], given = mask.shape().at(-1);
    if (given == keys && given != kUnknown) return mask;
    std::vector<Var> extents;
    for (int axis = 0; axis < mask.rank() - 1; ++axis) extents.push_back(extent_of(mask, axis));
    extents.push_back(maximum(extent_of(k_, 2) - extent_of(mask, mask.rank() - 1), 0.0));
    const Var hidden = scalar(n_.graph, mask.dtype(), mask.dtype() == DType::boolean ? 0 : -kInfinity);
    return concat(std::vector<Var>{mask, filled(n_, hidden, vector_of(extents))}, mask.rank() - 1);
  }

  // bool [B, 1, 1, S]: keys that are not padding.
  Var not_padding() const { return lt(positions(n_, k_, 2), unsqueeze(padding_, {1, 2, 3})); }

  Var hide(Var mask, Var seen) const {
    if (!mask) return seen;
    if (mask.dtype() == DType::boolean) return logical_and(mask, seen);
    return select(seen, mask, scalar(n_.graph, mask.dtype(), -kInfinity));
  }

  // A query i sees the keys up to past + i. The row counts from the last key: where there are as many new keys as
  // queries that is the same, otherwise the length past + L says so.
  Var attend() const {
    Var mask = mask_, lengths = padding_;
    if (causal_) {
      if (padding_) mask = hide(mask, not_padding());
      lengths = {};
      const std::int64_t queries = q_.shape()[2];
      if (queries == kUnknown || queries != new_k_.shape()[2])
        lengths = filled(n_, past_ + extent_of(q_, 2), reshape(extent_of(q_, 0), Shape{1}));
    }
    AttentionAttributes attributes;
    attributes.scale = scale_;
    attributes.softcap = softcap_;
    attributes.causal = causal_;
    return attention(cast(q_, dtype_), cast(k_, dtype_), cast(v_, dtype_), mask, lengths, attributes).y;
  }

  // The output qk_matmul_output, at the stage that the mode says.
  Var scores() const {
    const std::int64_t mode = n_.integer("qk_matmul_output_mode", 0);
    if (mode < 0 || mode > 3) n_.invalid("qk_matmul_output_mode is " + std::to_string(mode));
    Var s = product(n_, cast(q_, dtype_) * scale_, cast(k_, dtype_), true);
    if (softcap_ > 0 && mode > 0) s = tanh(s / softcap_) * softcap_;
    if (mode >= 2) {
      Var mask = mask_;
      if (padding_) mask = hide(mask, not_padding());
      if (causal_) mask = hide(mask, le(positions(n_, k_, 2), unsqueeze(positions(n_, q_, 2), {1}) + past_));
      const Var hidden = scalar(n_.graph, dtype_, -kInfinity);
      if (mask) s = mask.dtype() == DType::boolean ? select(mask, s, hidden) : s + mask;
    }
    return cast(mode == 3 ? softmax(s) : s, q_.dtype());
  }

  Node n_;
  Var q_, k_, v_, new_k_;
  DType dtype_;
  double scale_, softcap_;
  Var mask_, past_, padding_;
  bool causal_;
};
Results attention_operator(Node n) { return AttentionImport(n).run(); }

// Attention with graphs that change the scores and the probabilities.
Results flex_attention(Node n) {
  const Var q = n.in(0), k = n.in(1), v = n.in(2);
  for (const Var& x : {q, k, v}) {
    if (x.rank() != 4) n.invalid("wants operands [batch, heads, length, size], got " + x.shape().str());
    if (x.shape()[1] == kUnknown || x.shape()[3] == kUnknown)
      n.unsupported("an operand " + x.shape().str() + " without known heads");
  }
  const DType precision = n.dtype("softmax_precision", q.dtype() == DType::f64 ? DType::f64 : DType::f32);
  const double scale = n.number("scale", 1 / std::sqrt(static_cast<double>(q.shape()[3])));
  // The row computes in f32 at least.
  if (!n.has_attribute("score_mod") && !n.has_attribute("prob_mod") && precision != DType::f64) {
    AttentionAttributes attributes;
    attributes.scale = scale;
    return {attention(q, k, v, {}, {}, attributes).y};
  }
  const auto changed = [&](const char* name, Var x) {
    if (!n.has_attribute(name)) return x;
    const std::vector<Var> results = n.inline_subgraph(name, std::span(&x, 1));
    if (results.size() != 1 || results[0].dtype() != x.dtype() || results[0].rank() != 4)
      n.invalid(std::string(name) + " does not answer one tensor like " + x.shape().str());
    return results[0];
  };
  const DType wide = precision == DType::f64 ? DType::f64 : dtype_info(q.dtype()).compute;
  const Var scores = cast(product(n, cast(q, wide) * scale, cast(k, wide), true), precision);
  const Var probabilities = changed("prob_mod", softmax(changed("score_mod", scores)));
  return {cast(product(n, probabilities, cast(v, precision), false), v.dtype())};
}

// The first 2 h elements of each head are pairs (halves, or neighbours when interleaved) that turn by an angle.
Results rotary_embedding(Node n) {
  const Var x = n.in(0);
  const bool flat = x.rank() == 3;
  const Var heads = flat ? split_heads(n, x, n.integer("num_heads", 0), "num_heads") : x;  // [B, L, N, d], [B, N, L, d]
  if (heads.rank() != 4 || heads.shape()[3] == kUnknown) n.unsupported("an input " + x.shape().str());
  const std::int64_t size = heads.shape()[3], given = n.integer("rotary_embedding_dim", 0);
  const std::int64_t turned = given == 0 ? size : given;
  if (turned < 0 || turned > size || turned % 2 != 0)
    n.invalid("rotary_embedding_dim is " + std::to_string(turned) + " for heads of " + std::to_string(size));
  const auto angle = [&](std::size_t i) {  // to broadcast over the heads
    const Var cache = n.has(3) ? gather(n.in(i), n.in(3), 0) : n.in(i);
    return unsqueeze(cache, {flat ? 2 : 1});
  };
  const Var cosine = angle(1), sine = angle(2);
  if (cosine.rank() != 4 || sine.rank() != 4) n.invalid("caches " + n.in(1).shape().str() + " do not fit");
  const auto columns = [](Var from, std::int64_t start, std::int64_t end) {
    Ints starts(static_cast<std::size_t>(from.rank()), 0), ends(starts.size(), kSliceToEnd);
    starts.back() = start;
    ends.back() = end;
    return slice(from, starts, ends);
  };
  const std::int64_t half = turned / 2;
  const Var all = columns(heads, 0, turned);
  const Ints kept{reshape_keeps(0), reshape_keeps(1), reshape_keeps(2)};
  const auto with = [&](std::initializer_list<std::int64_t> more) {
    Ints dims = kept;
    dims.insert(dims.end(), more);
    return dims;
  };
  Var first, second, pairs;
  if (n.integer("interleaved", 0) != 0) {
    const Var apart = reshaped(all, with({half, 2}));
    first = reshaped(columns(apart, 0, 1), with({half}));
    second = reshaped(columns(apart, 1, 2), with({half}));
  } else {
    first = columns(all, 0, half);
    second = columns(all, half, turned);
  }
  const Var real = cosine * first - sine * second, imaginary = sine * first + cosine * second;
  if (n.integer("interleaved", 0) != 0)
    pairs = reshaped(concat(std::vector<Var>{unsqueeze(real, {4}), unsqueeze(imaginary, {4})}, 4), with({turned}));
  else
    pairs = concat(std::vector<Var>{real, imaginary}, 3);
  if (turned < size) pairs = concat(std::vector<Var>{pairs, columns(heads, turned, size)}, 3);
  return {flat ? reshaped(pairs, {reshape_keeps(0), reshape_keeps(1), x.shape()[2]}) : pairs};
}

// A state [B, G, d, e] that every step decays, corrects and adds k v^T to, and that queries read; in f32. Yang et al.,
// arXiv 2412.06464.
Results linear_attention(Node n) {
  const std::string rule = n.text("update_rule", "gated_delta");
  const bool gated = rule == "gated" || rule == "gated_delta", delta = rule == "delta" || rule == "gated_delta";
  if (!gated && !delta && rule != "linear") n.invalid("update_rule '" + rule + "'");
  if (gated != n.has(4)) n.invalid("update_rule '" + rule + "' " + (gated ? "needs" : "takes no") + " decay");
  if (delta != n.has(5)) n.invalid("update_rule '" + rule + "' " + (delta ? "needs" : "takes no") + " beta");
  const std::int64_t heads = n.integer("q_num_heads", 0), groups = n.integer("kv_num_heads", 0);
  if (heads <= 0 || groups <= 0 || heads % groups != 0)
    n.invalid(std::to_string(heads) + " heads of queries for " + std::to_string(groups) + " of keys");
  // [B, T, heads size] as [T, B, heads, size].
  const auto steps = [&](std::size_t i, std::int64_t count, const char* attribute) {
    return transpose(split_heads(n, cast(n.in(i), DType::f32), count, attribute), {1, 0, 2, 3});
  };
  const Var q = steps(0, heads, "q_num_heads"), k = steps(1, groups, "kv_num_heads"),
            v = steps(2, groups, "kv_num_heads");
  const std::int64_t key_size = k.shape()[3], value_size = v.shape()[3];
  std::vector<Var> scanned{q, k, v};
  if (gated) scanned.push_back(steps(4, groups, "kv_num_heads"));  // [T, B, G, d or 1]
  if (delta) {
    const std::int64_t rates = n.in(5).shape().at(-1);
    if (rates != groups && rates != 1) n.invalid("beta " + n.in(5).shape().str() + " wants one rate, or one per head");
    scanned.push_back(steps(5, rates, "kv_num_heads"));  // [T, B, G or 1, 1]
  }
  const auto initial = [&] {
    const Var extents[] = {extent_of(n.in(0), 0), number_of(n.graph, groups), number_of(n.graph, key_size),
                           number_of(n.graph, value_size)};
    return filled(n, scalar(n.graph, DType::f32, 0), vector_of(extents));
  };
  const Var state = n.has(3) ? cast(n.in(3), DType::f32) : initial();
  const Turn turn = [&](std::span<const Var> carried, std::span<const Var> x, std::span<const Var>) {
    Var s = carried[0], value = unsqueeze(x[2], {2});  // [B, G, 1, e]
    if (gated) s = s * unsqueeze(exp(x[3]), {3});
    if (delta) value = unsqueeze(x[x.size() - 1], {3}) * (value - matmul(unsqueeze(x[1], {2}), s));
    s = s + unsqueeze(x[1], {3}) * value;
    const Var rows = reshaped(x[0], {reshape_keeps(0), groups, heads / groups, key_size});
    return std::vector<Var>{s, matmul(rows, s)};
  };
  const std::vector<Var> results = scan(turn, std::span(&state, 1), scanned);
  const double scale = n.number("scale", 0);
  const Var y = results[1] * (scale == 0 ? 1 / std::sqrt(static_cast<double>(key_size)) : scale);
  const Var packed = reshaped(transpose(y, {1, 0, 2, 3, 4}), {reshape_keeps(0), reshape_keeps(1), heads * value_size});
  return {cast(packed, n.in(0).dtype()), cast(results[0], n.has(3) ? n.in(3).dtype() : n.in(0).dtype())};
}

// Each channel convolved with what came before it: the state is the last k - 1 inputs.
Results causal_conv_with_state(Node n) {
  const Var x = n.in(0), weight = n.in(1);
  if (x.rank() != 3 || weight.rank() != 3)
    n.invalid("wants an input [batch, channels, length] and a weight [channels, 1, k], got " + x.shape().str() +
              " and " + weight.shape().str());
  const std::int64_t channels = weight.shape()[0], width = weight.shape()[2];
  if (channels == kUnknown || width == kUnknown) n.unsupported("a weight of unknown shape");
  if (width < 1) n.invalid("a weight " + weight.shape().str());
  const Var padded = n.has(3) ? concat(std::vector<Var>{n.in(3), x}, 2) : pad(x, {0, 0, width - 1}, {0, 0, 0});
  Var y = convolution(padded, weight, n.has(2) ? n.in(2) : Var{}, Windows::unit(1), channels);
  const std::string activation = n.text("activation", "none");
  if (activation == "silu" || activation == "swish")
    y = silu(y);
  else if (activation != "none")
    n.invalid("activation '" + activation + "'");
  const Var state = width == 1 ? slice(padded, {0, 0, 0}, {kSliceToEnd, kSliceToEnd, 0})
                               : slice(padded, {0, 0, 1 - width}, Ints(3, kSliceToEnd));
  return {y, state};
}

constexpr Operator kOperators[] = {
    {"Attention", 23, kAny, attention_operator},
    {"CausalConvWithState", 27, kAny, causal_conv_with_state},
    {"FlexAttention", 1, kAny, flex_attention, "ai.onnx.preview"},
    {"LinearAttention", 27, kAny, linear_attention},
    {"RotaryEmbedding", 23, kAny, rotary_embedding},
};

}  // namespace

std::span<const Operator> attention_operators() { return kOperators; }

}  // namespace ml::onnx
