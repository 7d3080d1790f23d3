// Attention of few rows, as when one token is decoded: reading the keys and values is all there is to do, so every key
// is read once for all rows, with vectors along it.
#include <cmath>

#include "engine/backends/cpu/attention_blocks.h"
#include "engine/backends/cpu/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/backends/cpu/kernel_attention_few.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
// After highway.h: compiled once per target too.
#include "engine/backends/cpu/tiles-inl.h"
#include "engine/backends/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ml::cpu::HWY_NAMESPACE {
namespace {

using Float = hn::ScalableTag<float>;
using Vector = hn::Vec<Float>;
constexpr std::int64_t kLanes = HWY_LANES(float);

template <int rows>
class Few {
 public:
  Few(const AttentionShape& shape, const AttentionOperands& operands, const KeyRun& run, float* scratch, float* partial)
      : s_(shape),
        o_(operands),
        run_(run),
        depth_(padded(shape.depth)),
        q_(scratch),
        scores_(q_ + kFewRows * depth_),
        bias_(scores_ + kFewRows * kKeys) {
    const std::int64_t line = padded(s_.width) + kPad;
    for (int r = 0; r < rows; ++r) {
      out_[r] = partial + r * line;
      largest_[r] = out_[r] + padded(s_.width);
      sum_[r] = largest_[r] + 1;
    }
  }

  void run() {
    start();
    const float* const k = o_.keys_of(s_, run_.batch, run_.group) + run_.first * s_.k[2];
    const float* const v = o_.values_of(s_, run_.batch, run_.group) + run_.first * s_.v[2];
    for (std::int64_t from = 0; from < most_; from += kKeys) {
      const std::int64_t count = std::min(kKeys, most_ - from);
      score(k + from * s_.k[2], count);
      for (int r = 0; r < rows; ++r) normalize(r, from, count);
      add_values(v + from * s_.v[2], count);
    }
  }

 private:
  std::int64_t head(int r) const { return run_.group * s_.repeats + r / s_.queries; }
  std::int64_t query(int r) const { return r % s_.queries; }

  void start() {
    most_ = 0;
    for (int r = 0; r < rows; ++r) {
      const float* const from = o_.q + run_.batch * s_.q[0] + head(r) * s_.q[1] + query(r) * s_.q[2];
      for (std::int64_t e = 0; e < depth_; ++e)
        q_[r * depth_ + e] = e < s_.depth ? from[e] * static_cast<float>(s_.scale) : 0.0f;
      visible_[r] = std::clamp<std::int64_t>(o_.visible(s_, run_.batch, query(r)) - run_.first, 0, run_.count);
      most_ = std::max(most_, visible_[r]);
      std::fill_n(out_[r], padded(s_.width), 0.0f);
      *largest_[r] = -kInfinity;
      *sum_[r] = 0;
    }
  }

  void score(const float* k, std::int64_t count) {
    constexpr int kAtOnce = rows <= 2 ? 4 : 2;
    std::int64_t j = 0;
    for (; j + kAtOnce <= count; j += kAtOnce) score_keys<kAtOnce>(k, j);
    for (; j < count; ++j) score_keys<1>(k, j);
  }
  template <int keys>
  HWY_NOINLINE void score_keys(const float* k, std::int64_t j) {
    const Float d;
    const std::int64_t stride = s_.k[2], whole = s_.depth / kLanes * kLanes, left = s_.depth - whole;
    const float* const from = k + j * stride;
    Vector sums[rows][keys];
    ML_UNROLL
    for (int r = 0; r < rows; ++r) {
      ML_UNROLL
      for (int i = 0; i < keys; ++i) sums[r][i] = hn::Zero(d);
    }
    const auto add = [&](std::int64_t e, auto load) HWY_ATTR {
      Vector key[keys];
      ML_UNROLL
      for (int i = 0; i < keys; ++i) key[i] = load(from + i * stride + e);
      ML_UNROLL
      for (int r = 0; r < rows; ++r) {
        const Vector q = hn::LoadU(d, q_ + r * depth_ + e);
        ML_UNROLL
        for (int i = 0; i < keys; ++i) sums[r][i] = hn::MulAdd(q, key[i], sums[r][i]);
      }
    };
    for (std::int64_t e = 0; e < whole; e += kLanes) {
      add(e, [&](const float* at) HWY_ATTR { return hn::LoadU(d, at); });
    }
    if (left > 0) {
      const auto mask = hn::FirstN(d, static_cast<std::size_t>(left));
      add(whole, [&](const float* at) HWY_ATTR { return hn::MaskedLoad(mask, d, at); });
    }
    ML_UNROLL
    for (int r = 0; r < rows; ++r) {
      ML_UNROLL
      for (int i = 0; i < keys; ++i) scores_[r * kKeys + j + i] = hn::GetLane(hn::SumOfLanes(d, sums[r][i]));
    }
  }

  // Scores of a row become weights, -inf behind what it sees; what has been summed up shrinks to the new largest.
  void normalize(int r, std::int64_t from, std::int64_t count) {
    const Float d;
    float* const line = scores_ + r * kKeys;
    const std::int64_t seen = std::clamp<std::int64_t>(visible_[r] - from, 0, count), end = padded(count);
    if (s_.bias_input != 0) {
      const std::int64_t at =
          run_.batch * s_.bias[0] + head(r) * s_.bias[1] + query(r) * s_.bias[2] + (run_.first + from) * s_.bias[3];
      for (std::int64_t j = 0; j < seen; ++j) bias_[j] = o_.bias_value(s_, at + j * s_.bias[3]);
    }
    const Vector low = hn::Set(d, -kInfinity), cap = hn::Set(d, static_cast<float>(s_.softcap));
    Vector most = hn::Set(d, *largest_[r]);
    for (std::int64_t j = 0; j < end; j += kLanes) {
      Vector x = hn::LoadU(d, line + j);
      if (s_.softcap > 0) x = hn::Mul(cap, Tanh::run(d, hn::Div(x, cap)));
      if (s_.bias_input != 0) {
        const Vector bias = hn::LoadU(d, bias_ + j);
        x = s_.bias_hides ? hn::IfThenElse(hn::Ne(bias, hn::Zero(d)), x, low) : hn::Add(x, bias);
      }
      const auto inside = static_cast<std::size_t>(std::clamp<std::int64_t>(seen - j, 0, kLanes));
      x = hn::IfThenElse(hn::FirstN(d, inside), x, low);
      most = hn::Max(most, x);
      hn::StoreU(x, d, line + j);
    }
    const float largest = hn::GetLane(hn::MaxOfLanes(d, most));
    const Vector base = hn::Set(d, largest == -kInfinity ? 0.0f : largest);
    Vector sum = hn::Zero(d);
    for (std::int64_t j = 0; j < end; j += kLanes) {
      const Vector e = ExpNegative::run(d, hn::Sub(hn::LoadU(d, line + j), base));
      hn::StoreU(e, d, line + j);
      sum = hn::Add(sum, e);
    }
    shrink_[r] = hn::GetLane(ExpNegative::run(d, hn::Sub(hn::Set(d, *largest_[r]), base)));
    *largest_[r] = largest;
    *sum_[r] = *sum_[r] * shrink_[r] + hn::GetLane(hn::SumOfLanes(d, sum));
  }

  void add_values(const float* v, std::int64_t count) {
    const std::int64_t vectors = (s_.width + kLanes - 1) / kLanes;
    for (std::int64_t c = 0; c < vectors; c += kTileVectors) {
      const int across = static_cast<int>(std::min<std::int64_t>(kTileVectors, vectors - c));
      with_count<kTileVectors>(across, [&](auto wide) HWY_ATTR {
        constexpr int kWide = decltype(wide)::value;
        if ((c + kWide) * kLanes <= s_.width)
          add_columns<kWide, false>(v + c * kLanes, c * kLanes, count);
        else
          add_columns<kWide, true>(v + c * kLanes, c * kLanes, count);
      });
    }
  }
  template <int vectors, bool partial>
  HWY_NOINLINE void add_columns(const float* v, std::int64_t column, std::int64_t count) {
    const Float d;
    const std::int64_t stride = s_.v[2];
    const auto mask = hn::FirstN(d, static_cast<std::size_t>(s_.width - column - (vectors - 1) * kLanes));
    Vector sums[rows][vectors];
    ML_UNROLL
    for (int r = 0; r < rows; ++r) {
      ML_UNROLL
      for (int c = 0; c < vectors; ++c)
        sums[r][c] = hn::Mul(hn::Set(d, shrink_[r]), hn::LoadU(d, out_[r] + column + c * kLanes));
    }
    for (std::int64_t j = 0; j < count; ++j) {
      Vector values[vectors];
      ML_UNROLL
      for (int c = 0; c < vectors; ++c) {
        const float* const at = v + j * stride + c * kLanes;
        values[c] = partial && c == vectors - 1 ? hn::MaskedLoad(mask, d, at) : hn::LoadU(d, at);
      }
      ML_UNROLL
      for (int r = 0; r < rows; ++r) {
        const Vector weight = hn::Set(d, scores_[r * kKeys + j]);
        ML_UNROLL
        for (int c = 0; c < vectors; ++c) sums[r][c] = hn::MulAdd(weight, values[c], sums[r][c]);
      }
    }
    ML_UNROLL
    for (int r = 0; r < rows; ++r) {
      ML_UNROLL
      for (int c = 0; c < vectors; ++c) hn::StoreU(sums[r][c], d, out_[r] + column + c * kLanes);
    }
  }

  const AttentionShape& s_;
  const AttentionOperands& o_;
  KeyRun run_;
  std::int64_t depth_, most_ = 0;
  float *q_, *scores_, *bias_;
  float *out_[rows], *largest_[rows], *sum_[rows];
  float shrink_[rows];
  std::int64_t visible_[rows];  // keys of this run
};

}  // namespace

void attend_few(const AttentionShape& shape, const AttentionOperands& operands, const KeyRun& run, float* scratch,
                float* partial) {
  with_count<kFewRows>(static_cast<int>(shape.rows()), [&](auto rows) HWY_ATTR {
    Few<decltype(rows)::value>(shape, operands, run, scratch, partial).run();
  });
}

}  // namespace ml::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ml::cpu {

HWY_EXPORT(attend_few);

AttendFew attend_few_function() { return HWY_DYNAMIC_DISPATCH(attend_few); }

void join_runs(const AttentionShape& s, const AttentionOperands& o, std::int64_t batch, std::int64_t group,
               std::int64_t runs, const float* partials) {
  const std::int64_t line = padded(s.width) + kPad, size = s.rows() * line;
  for (std::int64_t r = 0; r < s.rows(); ++r) {
    const std::int64_t head = group * s.repeats + r / s.queries, query = r % s.queries;
    float* const y = o.y == nullptr ? nullptr : o.y + batch * s.y[0] + head * s.y[1] + query * s.y[2];
    const float* const first = partials + r * line;
    const auto largest_of = [&](std::int64_t run) { return first[run * size + padded(s.width)]; };
    const auto sum_of = [&](std::int64_t run) { return first[run * size + padded(s.width) + 1]; };
    float largest = -kInfinity, sum = 0;
    for (std::int64_t run = 0; run < runs; ++run) largest = std::max(largest, largest_of(run));
    const std::int64_t columns = y == nullptr ? 0 : s.width;
    std::fill_n(y, columns, 0.0f);
    for (std::int64_t run = 0; run < runs; ++run) {
      if (sum_of(run) == 0) continue;
      const float weight = std::exp(largest_of(run) - largest);
      sum += weight * sum_of(run);
      for (std::int64_t c = 0; c < columns; ++c) y[c] += weight * first[run * size + c];
    }
    for (std::int64_t c = 0; sum != 0 && c < columns; ++c) y[c] /= sum;
    if (o.log_sum_exp == nullptr) continue;
    o.log_sum_exp[batch * s.log_sum_exp[0] + head * s.log_sum_exp[1] + query * s.log_sum_exp[2]] =
        sum != 0 ? largest + std::log(sum) : -kInfinity;
  }
}

}  // namespace ml::cpu
#endif  // HWY_ONCE
