// Scaled dot-product attention: Vaswani et al., arXiv 1706.03762; grouped queries: Ainslie et al., arXiv 2305.13245.
// f16 and bf16 compute in f32 and round once.
#include "engine/graph/ops/attention.h"

#include <cmath>
#include <limits>

#include "engine/graph/build_nn.h"
#include "engine/graph/ops/families.h"
#include "engine/graph/ops/rules.h"

namespace ml {
namespace {

using Args = const RuleArguments&;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

DType compute(DType dtype) { return dtype_info(dtype).compute; }
Var widened(Var x) { return cast(x, compute(x.dtype())); }

AttentionInputs optional_inputs(Args a) {
  return attention_inputs(a.inputs.size(), [&](std::size_t i) { return a.inputs[i].dtype(); });
}

void check_bias(const InferArguments& a, std::size_t i, const Shape& scores) {
  const DType dtype = a.dtype(i), q = a.dtype(0);
  if (dtype != DType::boolean && dtype != q && dtype != compute(q)) {
    rules::fail(a, "bias " + rules::text(a.inputs[i]) + " wants dtype bool, " + std::string(dtype_name(q)) + " or " +
                       std::string(dtype_name(compute(q))));
  }
  const Shape& bias = a.shape(i);
  bool fits = bias.rank() <= scores.rank();
  for (int d = 1; fits && d <= bias.rank(); ++d) {
    const std::int64_t extent = bias[bias.rank() - d];
    fits = extent == 1 || rules::same_extent(extent, scores[scores.rank() - d]);
  }
  if (!fits) rules::fail(a, "bias " + bias.str() + " does not broadcast to the scores " + scores.str());
}

std::vector<TensorType> infer_attention(const InferArguments& a) {
  const auto& attributes = a.as<AttentionAttributes>();
  rules::want_floating(a);
  for (std::size_t i = 0; i < 3; ++i) {
    rules::want_rank(a, i, 4);
    if (a.dtype(i) != a.dtype(0)) {
      rules::fail(a, "operands have different dtypes: " + rules::text(a.inputs[0]) + " and " + rules::text(a.inputs[i]),
                  "cast one of them");
    }
  }
  const Shape &q = a.shape(0), &k = a.shape(1), &v = a.shape(2);
  const auto want_equal = [&](std::int64_t x, std::int64_t y, const char* what) {
    if (!rules::same_extent(x, y)) {
      rules::fail(a, std::string(what) + " differ: q " + q.str() + ", k " + k.str() + ", v " + v.str());
    }
    return x == kUnknown ? y : x;
  };
  const std::int64_t batch = want_equal(want_equal(q[0], k[0], "batches"), v[0], "batches");
  const std::int64_t groups = want_equal(k[1], v[1], "heads of keys and values");
  const std::int64_t keys = want_equal(k[2], v[2], "numbers of keys and values");
  want_equal(q[3], k[3], "sizes of the heads of queries and keys");
  const bool divides = q[1] == kUnknown || groups == kUnknown || (groups == 0 ? q[1] == 0 : q[1] % groups == 0);
  if (!divides) {
    rules::fail(
        a, std::to_string(q[1]) + " heads of queries do not share " + std::to_string(groups) + " heads of keys evenly");
  }
  if (!std::isfinite(attributes.scale)) rules::fail(a, "its scale is " + std::to_string(attributes.scale));
  if (!(attributes.softcap >= 0) || !std::isfinite(attributes.softcap))
    rules::fail(a, "its softcap is " + std::to_string(attributes.softcap));

  const AttentionInputs optional = attention_inputs(a.inputs.size(), [&](std::size_t i) { return a.dtype(i); });
  if (a.inputs.size() == 5 && (optional.bias != 3 || optional.lengths != 4))
    rules::fail(a,
                "wants a bias and then lengths, got " + rules::text(a.inputs[3]) + " and " + rules::text(a.inputs[4]));
  if (optional.bias != 0) check_bias(a, optional.bias, {batch, q[1], q[2], keys});
  if (const std::size_t at = optional.lengths; at != 0) {
    rules::want_index(a, at);
    if (!rules::same_shape(a.shape(at), Shape{batch}))
      rules::fail(a, "lengths " + rules::text(a.inputs[at]) + " want shape " + Shape{batch}.str());
  }
  return {{a.dtype(0), {batch, q[1], q[2], v[3]}}, {compute(a.dtype(0)), {batch, q[1], q[2]}}};
}

struct Scores {
  Var scores;  // [B, H, L, S] in the compute dtype, -inf where a query does not see the key
  Var tanh;    // of the softcap, where there is one
};

// The heads of queries that read one head of keys are its rows: [B, H, L, D] as [B, G, H / G * L, D].
Var by_group(Var x, Var k) {
  const Shape& s = x.shape();
  if (s[1] == k.shape()[1]) return x;
  return reshape(x, Shape{s[0], k.shape()[1], s[1] / k.shape()[1] * s[2], s[3]});
}

// Which keys each query sees by its causal mask and its lengths, to broadcast; invalid where it sees all.
Var visible(Args a) {
  const bool causal = a.as<AttentionAttributes>().causal;
  const std::size_t at = optional_inputs(a).lengths;
  if (!causal && at == 0) return {};
  const std::int64_t queries = a.inputs[0].shape()[2], keys = a.inputs[1].shape()[2];
  const Var number = iota(a.graph, DType::i64, Shape{keys}, 0);
  const Var count = at != 0 ? reshape(maximum(cast(a.inputs[at], DType::i64), 0.0), {a.inputs[at].shape()[0], 1, 1, 1})
                            : scalar(a.graph, DType::i64, static_cast<double>(keys));
  if (!causal) return lt(number, count);
  return lt(number, iota(a.graph, DType::i64, {queries, 1}, 0) + (count + static_cast<double>(1 - queries)));
}

Scores scores_of(Args a) {
  const auto& attributes = a.as<AttentionAttributes>();
  const Var q = widened(a.inputs[0]) * attributes.scale, k = widened(a.inputs[1]);
  const Shape& heads = q.shape();
  const Var hidden = scalar(a.graph, q.dtype(), -kInfinity);
  Scores s;
  s.scores = reshape(matmul(by_group(q, k), k, false, true), {heads[0], heads[1], heads[2], k.shape()[2]});
  if (attributes.softcap > 0) {
    s.tanh = tanh(s.scores / attributes.softcap);
    s.scores = s.tanh * attributes.softcap;
  }
  if (const std::size_t at = optional_inputs(a).bias; at != 0) {
    const Var bias = a.inputs[at];
    s.scores = bias.dtype() == DType::boolean ? select(bias, s.scores, hidden) : s.scores + widened(bias);
  }
  if (const Var seen = visible(a)) s.scores = select(seen, s.scores, hidden);
  return s;
}

// -inf, which is what nothing sums up to, as 0: so that what is subtracted is a number.
Var finite(Var x) { return select(eq(x, -kInfinity), zeros_like(x), x); }

std::vector<Var> decompose_attention(Args a) {
  const Var q = a.inputs[0], v = widened(a.inputs[2]);
  const Var scores = scores_of(a).scores;
  const Var largest = finite(reduce_max(scores, {3}, true));
  const Var e = exp(scores - largest);
  const Var sum = reduce_sum(e, {3}, true);
  const Shape y{q.shape()[0], q.shape()[1], q.shape()[2], v.shape()[3]};
  const Var total = reshape(matmul(by_group(e, v), v), y);
  const Var one = scalar(a.graph, sum.dtype(), 1);
  return {cast(total / select(eq(sum, 0.0), one, sum), q.dtype()), squeeze(log(sum) + largest, {3})};
}

// With p = softmax(scores): dv = p^T dy and dscores = p (dy v^T - sum(dy y) + dlog_sum_exp); then through the bias, the
// softcap and the product.
std::vector<Var> gradient_attention(Args a) {
  const auto& attributes = a.as<AttentionAttributes>();
  const Var k = widened(a.inputs[1]), v = widened(a.inputs[2]);
  const Scores s = scores_of(a);
  const Var p = exp(s.scores - unsqueeze(finite(a.outputs[1]), {3}));
  std::vector<Var> results(a.inputs.size());
  Var inner;  // dscores = p inner
  if (a.cotangents[0]) {
    const Var dy = widened(a.cotangents[0]);
    results[2] = cast(matmul(by_group(p, v), by_group(dy, v), true), a.inputs[2].dtype());
    inner =
        reshape(matmul(by_group(dy, v), v, false, true), p.shape()) - reduce_sum(dy * widened(a.outputs[0]), {3}, true);
  }
  if (a.cotangents[1]) {
    const Var dlog = unsqueeze(a.cotangents[1], {3});
    inner = inner ? inner + dlog : dlog;
  }
  Var dscores = p * inner;
  if (const std::size_t at = optional_inputs(a).bias; at != 0 && is_floating(a.inputs[at].dtype()))
    results[at] = cast(dscores, a.inputs[at].dtype());
  if (s.tanh) dscores = dscores * (1.0 - s.tanh * s.tanh);
  const Var rows = by_group(dscores * attributes.scale, k);
  results[0] = cast(reshape(matmul(rows, k), a.inputs[0].shape()), a.inputs[0].dtype());
  results[1] = cast(matmul(rows, by_group(widened(a.inputs[0]), k), true), a.inputs[1].dtype());
  return results;
}

double flops(const InferArguments& a, std::span<const TensorType> outputs) {
  const Shape& q = a.shape(0);
  const double scores = static_cast<double>(outputs[1].shape.elements()) * static_cast<double>(a.shape(1)[2]);
  return scores * (2.0 * static_cast<double>(q[3] + a.shape(2)[3]) + 10.0);
}

const Op kOps[] = {
    {.name = "attention",
     .kind = OpKind::composite,
     .min_inputs = 3,
     .max_inputs = 5,
     .infer = infer_attention,
     .gradient = gradient_by(gradient_attention),
     .make_attributes = attributes_of<AttentionAttributes>,
     .decompose = decompose_attention,
     .flops = flops},
};

}  // namespace

std::span<const Op> attention_ops() { return kOps; }

Attention attention(Var q, Var k, Var v, Var bias, Var lengths, const AttentionAttributes& attributes) {
  std::vector<Var> inputs{q, k, v};
  if (bias) inputs.push_back(bias);
  if (lengths) inputs.push_back(lengths);
  const std::vector<Var> results = emit_all("attention", inputs, std::make_shared<AttentionAttributes>(attributes));
  return {results[0], results[1]};
}

}  // namespace ml
