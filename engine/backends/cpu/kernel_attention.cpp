// Attention in blocks of queries and keys whose scores never leave the cache: Dao et al., arXiv 2205.14135.
//
// A block of rows (queries of the heads that share keys) is transposed once, so that a vector holds one number of many
// rows: scores are sums of broadcast elements of keys, the softmax of a row needs nothing across a vector, and keys and
// values are read as they lie. What few rows there are, as when one token is decoded, go through the keys with vectors
// along a key instead, and many keys are cut into runs that are put together at the end.
#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/backends/cpu/attention_blocks.h"
#include "engine/backends/cpu/cpu_device.h"
#include "engine/backends/cpu/partition.h"
#include "engine/backends/cpu/targets.h"
#include "engine/backends/cpu/widened.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/backends/cpu/kernel_attention.cpp"
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
constexpr int kAcross = kTileVectors;
constexpr int kKeysDown = 6, kRowsDown = 6;

// to[c * stride + r] = from_r[c] * factor for 4 rows and `columns` columns; a row that is null is zero.
void transpose_rows(const float* const* rows, std::int64_t columns, float factor, float* to, std::int64_t stride) {
  std::int64_t c = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::FixedTag<float, 4> d;
  const auto scale = hn::Set(d, factor);
  if (rows[3] != nullptr) {
    for (; c + 4 <= columns; c += 4) {
      const auto a = hn::LoadU(d, rows[0] + c), b = hn::LoadU(d, rows[1] + c);
      const auto e = hn::LoadU(d, rows[2] + c), f = hn::LoadU(d, rows[3] + c);
      const auto ae0 = hn::InterleaveLower(d, a, e), ae1 = hn::InterleaveUpper(d, a, e);
      const auto bf0 = hn::InterleaveLower(d, b, f), bf1 = hn::InterleaveUpper(d, b, f);
      hn::StoreU(hn::Mul(scale, hn::InterleaveLower(d, ae0, bf0)), d, to + c * stride);
      hn::StoreU(hn::Mul(scale, hn::InterleaveUpper(d, ae0, bf0)), d, to + (c + 1) * stride);
      hn::StoreU(hn::Mul(scale, hn::InterleaveLower(d, ae1, bf1)), d, to + (c + 2) * stride);
      hn::StoreU(hn::Mul(scale, hn::InterleaveUpper(d, ae1, bf1)), d, to + (c + 3) * stride);
    }
  }
#endif
  for (; c < columns; ++c) {
    for (int r = 0; r < 4; ++r) to[c * stride + r] = rows[r] == nullptr ? 0.0f : rows[r][c] * factor;
  }
}

// One block of rows against all keys that any of them sees.
class Rows {
 public:
  Rows(const AttentionShape& shape, const AttentionOperands& operands, const RowBlock& block, float* scratch)
      : s_(shape), o_(operands), block_(block) {
    constexpr std::int64_t kUnit = std::max<std::int64_t>(kLanes, 4);  // what is transposed at once
    width_ = (block.count + kUnit - 1) / kUnit * kUnit;
    out_width_ = padded(s_.width);
    const auto take = [&scratch](std::int64_t floats) {
      float* const at = scratch;
      scratch += floats;
      return at;
    };
    q_ = take(s_.depth * kRows);
    scores_ = take(kKeys * kRows);
    bias_ = take(s_.bias_input != 0 ? kKeys * kRows : 0);
    out_ = take(kRows * out_width_);
    largest_ = take(kRows);
    sum_ = take(kRows);
    shrink_ = take(kRows);
    visible_ = take(kRows);
  }

  void run() {
    start();
    const float* const k = o_.keys_of(s_, block_.batch, block_.group);
    const float* const v = o_.values_of(s_, block_.batch, block_.group);
    for (std::int64_t from = 0; from < most_; from += kKeys) {
      const std::int64_t count = std::min(kKeys, most_ - from);
      score(k + from * s_.k[2], count);
      if (s_.softcap > 0) cap(count);
      const bool hides = from + count > least_;
      const float* const bias = prepare_bias(from, count, hides);
      if (hides) hide(from, count);
      normalize(count, bias);
      add_values(v + from * s_.v[2], count, from == 0);
    }
    finish();
  }

 private:
  const float* q_row(std::int64_t r) const {
    return o_.q + block_.batch * s_.q[0] + head_[r] * s_.q[1] + query_[r] * s_.q[2];
  }

  void start() {
    head_[0] = block_.group * s_.repeats + block_.first / s_.queries;
    query_[0] = block_.first % s_.queries;
    for (std::int64_t r = 1; r < block_.count; ++r) {
      const bool next = query_[r - 1] + 1 == s_.queries;
      head_[r] = head_[r - 1] + (next ? 1 : 0);
      query_[r] = next ? 0 : query_[r - 1] + 1;
    }
    for (std::int64_t r = 0; r < width_; r += 4) {
      const float* rows[4];
      for (std::int64_t i = 0; i < 4; ++i) rows[i] = r + i < block_.count ? q_row(r + i) : nullptr;
      transpose_rows(rows, s_.depth, static_cast<float>(s_.scale), q_ + r, width_);
    }
    most_ = 0;
    least_ = s_.keys;
    for (std::int64_t r = 0; r < width_; ++r) {
      const std::int64_t seen = r < block_.count ? o_.visible(s_, block_.batch, query_[r]) : s_.keys;
      visible_[r] = static_cast<float>(seen);
      largest_[r] = -kInfinity;
      sum_[r] = 0;
      if (r >= block_.count) continue;
      most_ = std::max(most_, seen);
      least_ = std::min(least_, seen);
    }
  }

  // scores[j][r] = q_r k_j.
  void score(const float* k, std::int64_t count) const {
    for (std::int64_t j = 0; j < count; j += kKeysDown) {
      const int down = static_cast<int>(std::min<std::int64_t>(kKeysDown, count - j));
      for (std::int64_t r = 0; r < width_; r += kAcross * kLanes) {
        const int across = static_cast<int>(std::min<std::int64_t>(kAcross, (width_ - r) / kLanes));
        with_count<kAcross>(across, [&](auto vectors) {
          with_count<kKeysDown>(down, [&](auto keys) {
            score_tile<decltype(keys)::value, decltype(vectors)::value>(k + j * s_.k[2], q_ + r,
                                                                        scores_ + j * width_ + r);
          });
        });
      }
    }
  }
  // Tiles are functions of their own, so that registers are given out for them alone.
  template <int keys, int vectors>
  HWY_NOINLINE void score_tile(const float* k, const float* q, float* to) const {
    const Float d;
    const std::int64_t stride = s_.k[2], width = width_, depth = s_.depth;
    Vector sums[keys][vectors];
    ML_UNROLL
    for (int j = 0; j < keys; ++j) {
      ML_UNROLL
      for (int i = 0; i < vectors; ++i) sums[j][i] = hn::Zero(d);
    }
    for (std::int64_t e = 0; e < depth; ++e) {
      Vector rows[vectors];
      ML_UNROLL
      for (int i = 0; i < vectors; ++i) rows[i] = hn::LoadU(d, q + e * width + i * kLanes);
      ML_UNROLL
      for (int j = 0; j < keys; ++j) {
        const Vector key = hn::Set(d, k[j * stride + e]);
        ML_UNROLL
        for (int i = 0; i < vectors; ++i) sums[j][i] = hn::MulAdd(key, rows[i], sums[j][i]);
      }
    }
    ML_UNROLL
    for (int j = 0; j < keys; ++j) {
      ML_UNROLL
      for (int i = 0; i < vectors; ++i) hn::StoreU(sums[j][i], d, to + j * width + i * kLanes);
    }
  }

  // Calls f(key, r, vector) for every vector of the scores of `count` keys and stores what it answers; f comes from
  // prepare(key).
  template <class F>
  void each_score(std::int64_t count, F prepare) const {
    const Float d;
    for (std::int64_t j = 0; j < count; ++j) {
      const auto f = prepare(j);
      for (std::int64_t r = 0; r < width_; r += kLanes) {
        float* const at = scores_ + j * width_ + r;
        hn::StoreU(f(r, hn::LoadU(d, at)), d, at);
      }
    }
  }

  void cap(std::int64_t count) const {
    const Float d;
    const Vector cap = hn::Set(d, static_cast<float>(s_.softcap));
    const Vector inverse = hn::Set(d, static_cast<float>(1 / s_.softcap));
    each_score(count, [&](std::int64_t) {
      return [=](std::int64_t, Vector x) { return hn::Mul(cap, Tanh::run(Float(), hn::Mul(x, inverse))); };
    });
  }

  std::int64_t bias_at(std::int64_t r, std::int64_t key) const {
    return block_.batch * s_.bias[0] + head_[r] * s_.bias[1] + query_[r] * s_.bias[2] + key * s_.bias[3];
  }
  Vector biased(Vector x, Vector bias) const {
    const Float d;
    if (!s_.bias_hides) return hn::Add(x, bias);
    return hn::IfThenElse(hn::Ne(bias, hn::Zero(d)), x, hn::Set(d, -kInfinity));
  }
  // Adds the bias; or answers it, one for each key, where it is the same for all rows and nothing has to be done
  // between: then normalize adds it.
  const float* prepare_bias(std::int64_t from, std::int64_t count, bool hides) const {
    if (s_.bias_input == 0) return nullptr;
    const Float d;
    const bool same = s_.bias[1] == 0 && s_.bias[2] == 0;
    if (same && !s_.bias_hides) {
      const std::int64_t first = bias_at(0, from);
      for (std::int64_t j = 0; j < count; ++j) bias_[j] = o_.bias_value(s_, first + j * s_.bias[3]);
      if (!hides) return bias_;
      each_score(count, [&](std::int64_t j) {
        return [added = hn::Set(d, bias_[j])](std::int64_t, Vector x) { return hn::Add(x, added); };
      });
      return nullptr;
    }
    if (same) {
      const Vector low = hn::Set(d, -kInfinity);
      for (std::int64_t j = 0; j < count; ++j) {
        if (o_.bias_value(s_, bias_at(0, from + j)) != 0) continue;
        for (std::int64_t r = 0; r < width_; r += kLanes) hn::StoreU(low, d, scores_ + j * width_ + r);
      }
      return nullptr;
    }
    for (std::int64_t r = 0; r < width_; r += 4) {
      const bool dense = s_.bias[3] == 1 && !s_.bias_hides;
      const float* rows[4] = {};
      for (std::int64_t i = 0; dense && i < 4 && r + i < block_.count; ++i)
        rows[i] = static_cast<const float*>(o_.bias) + bias_at(r + i, from);
      if (dense) {
        transpose_rows(rows, count, 1, bias_ + r, width_);
        continue;
      }
      for (std::int64_t i = r; i < r + 4; ++i) {
        const std::int64_t at = bias_at(std::min(i, block_.count - 1), from);
        for (std::int64_t j = 0; j < count; ++j) bias_[j * width_ + i] = o_.bias_value(s_, at + j * s_.bias[3]);
      }
    }
    each_score(count, [&](std::int64_t j) {
      return [this, line = bias_ + j * width_](std::int64_t r, Vector x) {
        return biased(x, hn::LoadU(Float(), line + r));
      };
    });
    return nullptr;
  }

  void hide(std::int64_t from, std::int64_t count) const {
    const Float d;
    const Vector low = hn::Set(d, -kInfinity);
    each_score(count, [&](std::int64_t j) {
      const Vector key = hn::Set(d, static_cast<float>(from + j));
      return [=, this](std::int64_t r, Vector x) {
        return hn::IfThenElse(hn::Lt(key, hn::LoadU(Float(), visible_ + r)), x, low);
      };
    });
  }

  // Scores become exp(score + bias - largest), and what has been summed up shrinks to the new largest.
  void normalize(std::int64_t count, const float* bias) const {
    for (std::int64_t r = 0; r < width_; r += kAcross * kLanes) {
      const int across = static_cast<int>(std::min<std::int64_t>(kAcross, (width_ - r) / kLanes));
      with_count<kAcross>(across, [&](auto vectors) { normalize_columns<decltype(vectors)::value>(r, count, bias); });
    }
  }
  template <int vectors>
  HWY_NOINLINE void normalize_columns(std::int64_t r, std::int64_t count, const float* bias) const {
    const Float d;
    const Vector low = hn::Set(d, -kInfinity);
    const std::int64_t width = width_;
    float* const columns = scores_ + r;
    Vector before[vectors], largest[vectors], base[vectors], sum[vectors];
    ML_UNROLL
    for (int i = 0; i < vectors; ++i) before[i] = largest[i] = hn::LoadU(d, largest_ + r + i * kLanes);
    for (std::int64_t j = 0; j < count; ++j) {
      const Vector added = hn::Set(d, bias == nullptr ? 0.0f : bias[j]);
      ML_UNROLL
      for (int i = 0; i < vectors; ++i) {
        float* const at = columns + j * width + i * kLanes;
        Vector x = hn::LoadU(d, at);
        if (bias != nullptr) hn::StoreU(x = hn::Add(x, added), d, at);
        largest[i] = hn::Max(largest[i], x);
      }
    }
    ML_UNROLL
    for (int i = 0; i < vectors; ++i) {
      base[i] = hn::IfThenZeroElse(hn::Eq(largest[i], low), largest[i]);
      sum[i] = hn::Zero(d);
    }
    for (std::int64_t j = 0; j < count; ++j) {
      ML_UNROLL
      for (int i = 0; i < vectors; ++i) {
        float* const at = columns + j * width + i * kLanes;
        const Vector e = ExpNegative::run(d, hn::Sub(hn::LoadU(d, at), base[i]));
        hn::StoreU(e, d, at);
        sum[i] = hn::Add(sum[i], e);
      }
    }
    ML_UNROLL
    for (int i = 0; i < vectors; ++i) {
      const std::int64_t at = r + i * kLanes;
      const Vector shrink = ExpNegative::run(d, hn::Sub(before[i], base[i]));
      hn::StoreU(largest[i], d, largest_ + at);
      hn::StoreU(shrink, d, shrink_ + at);
      hn::StoreU(hn::MulAdd(hn::LoadU(d, sum_ + at), shrink, sum[i]), d, sum_ + at);
    }
  }

  // out[r] = out[r] * shrink[r] + sum over j of scores[j][r] v_j.
  void add_values(const float* v, std::int64_t count, bool first) const {
    const std::int64_t vectors = (s_.width + kLanes - 1) / kLanes;
    for (std::int64_t c = 0; c < vectors; c += kAcross) {
      const int across = static_cast<int>(std::min<std::int64_t>(kAcross, vectors - c));
      const std::int64_t last = std::min(s_.width - (c + across - 1) * kLanes, kLanes);
      for (std::int64_t r = 0; r < block_.count; r += kRowsDown) {
        const int down = static_cast<int>(std::min<std::int64_t>(kRowsDown, block_.count - r));
        with_count<kAcross>(across, [&](auto wide) {
          with_count<kRowsDown>(down, [&](auto rows) {
            constexpr int kR = decltype(rows)::value, kV = decltype(wide)::value;
            if (last == kLanes)
              value_tile<kR, kV, false>(v + c * kLanes, r, c * kLanes, count, last, first);
            else
              value_tile<kR, kV, true>(v + c * kLanes, r, c * kLanes, count, last, first);
          });
        });
      }
    }
  }
  template <int rows, int vectors, bool partial>
  HWY_NOINLINE void value_tile(const float* v, std::int64_t r, std::int64_t column, std::int64_t count,
                               std::int64_t last, bool first) const {
    const Float d;
    const auto mask = hn::FirstN(d, static_cast<std::size_t>(last));
    float* const out = out_ + r * out_width_ + column;
    const float* const weights = scores_ + r;
    const std::int64_t width = width_, stride = s_.v[2], out_width = out_width_;
    Vector sums[rows][vectors];
    ML_UNROLL
    for (int i = 0; i < rows; ++i) {
      const Vector shrink = hn::Set(d, shrink_[r + i]);
      ML_UNROLL
      for (int c = 0; c < vectors; ++c)
        sums[i][c] = first ? hn::Zero(d) : hn::Mul(shrink, hn::LoadU(d, out + i * out_width + c * kLanes));
    }
    for (std::int64_t j = 0; j < count; ++j) {
      Vector values[vectors];
      ML_UNROLL
      for (int c = 0; c < vectors; ++c) {
        const float* const at = v + j * stride + c * kLanes;
        values[c] = partial && c == vectors - 1 ? hn::MaskedLoad(mask, d, at) : hn::LoadU(d, at);
      }
      ML_UNROLL
      for (int i = 0; i < rows; ++i) {
        const Vector weight = hn::Set(d, weights[j * width + i]);
        ML_UNROLL
        for (int c = 0; c < vectors; ++c) sums[i][c] = hn::MulAdd(weight, values[c], sums[i][c]);
      }
    }
    ML_UNROLL
    for (int i = 0; i < rows; ++i) {
      ML_UNROLL
      for (int c = 0; c < vectors; ++c) hn::StoreU(sums[i][c], d, out + i * out_width + c * kLanes);
    }
  }

  void finish() const {
    const Float d;
    for (std::int64_t r = 0; r < block_.count; ++r) {
      float* const y =
          o_.y == nullptr ? nullptr : o_.y + block_.batch * s_.y[0] + head_[r] * s_.y[1] + query_[r] * s_.y[2];
      const float* const out = out_ + r * out_width_;
      const bool any = most_ > 0 && sum_[r] != 0;
      const Vector sum = hn::Set(d, any ? sum_[r] : 1.0f);
      for (std::int64_t c = 0; y != nullptr && c < s_.width; c += kLanes) {
        const Vector value = any ? hn::Div(hn::LoadU(d, out + c), sum) : hn::Zero(d);
        const auto left = static_cast<std::size_t>(std::min(kLanes, s_.width - c));
        hn::BlendedStore(value, hn::FirstN(d, left), d, y + c);
      }
      if (o_.log_sum_exp == nullptr) continue;
      o_.log_sum_exp[block_.batch * s_.log_sum_exp[0] + head_[r] * s_.log_sum_exp[1] + query_[r] * s_.log_sum_exp[2]] =
          any ? largest_[r] + std::log(sum_[r]) : -kInfinity;
    }
  }

  const AttentionShape& s_;
  const AttentionOperands& o_;
  RowBlock block_;
  std::int64_t width_, out_width_;              // floats of a line of scores, of an output row
  std::int64_t most_ = 0, least_ = 0;           // keys that any row sees, and that all of them see
  float *q_, *scores_, *bias_, *out_;           // [depth][rows], [keys][rows], [keys][rows], [rows][width]
  float *largest_, *sum_, *shrink_, *visible_;  // per row
  std::int64_t head_[kRows], query_[kRows];
};

}  // namespace

void attend_rows(const AttentionShape& shape, const AttentionOperands& operands, const RowBlock& block,
                 float* scratch) {
  Rows(shape, operands, block, scratch).run();
}

}  // namespace ml::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ml::cpu {
namespace {

HWY_EXPORT(attend_rows);

constexpr double kFlopsPerPart = 1e6;
constexpr std::int64_t kMostParts = 32;
constexpr std::int64_t kKeysPerRun = 256;

AttentionOperands operands_of(const AttentionShape& shape, Spans inputs, Spans outputs) {
  AttentionOperands o{};
  o.q = data_of<float>(inputs[0]);
  o.k = data_of<float>(inputs[1]);
  o.v = data_of<float>(inputs[2]);
  if (shape.bias_input != 0) o.bias = data_of(inputs[shape.bias_input]);
  if (shape.lengths_input != 0) o.lengths = data_of(inputs[shape.lengths_input]);
  o.y = data_of<float>(outputs[0]);
  o.log_sum_exp = data_of<float>(outputs[1]);
  return o;
}

std::unique_ptr<Kernel> compile_rows(const AttentionShape& shape, const PackCache& packs) {
  const std::int64_t blocks = (shape.rows() + kRows - 1) / kRows;  // of about the same height
  const std::int64_t height = padded((shape.rows() + blocks - 1) / blocks);
  const std::int64_t tasks = shape.batch * shape.groups * blocks;
  const std::int64_t parts = part_count(shape.flops(), kFlopsPerPart, std::min(tasks, kMostParts));
  const std::size_t scratch = aligned_size(static_cast<std::size_t>(row_scratch(shape)) * sizeof(float));
  const auto attend = HWY_DYNAMIC_DISPATCH(attend_rows);
  return make_kernel(
      [=](CpuStream& stream, Spans inputs, Spans outputs, std::byte* memory) {
        const AttentionOperands operands = operands_of(shape, inputs, outputs);
        stream.pool().parallel_for(parts, [&](std::int64_t part, std::int64_t slot) {
          auto* const own = reinterpret_cast<float*>(memory + static_cast<std::size_t>(slot) * scratch);
          const Range range = range_of(tasks, parts, part);
          for (std::int64_t task = range.begin; task < range.end; ++task) {
            const std::int64_t first = task % blocks * height, group = task / blocks;
            const std::int64_t count = std::min(height, shape.rows() - first);
            if (count > 0) attend(shape, operands, {group / shape.groups, group % shape.groups, first, count}, own);
          }
        });
      },
      scratch * static_cast<std::size_t>(packs.slots(parts)));
}

// Runs of keys side by side, then their results put together.
std::unique_ptr<Kernel> compile_few(const AttentionShape& shape, const PackCache& packs) {
  const std::int64_t heads = shape.batch * shape.groups;
  const std::int64_t runs =
      std::clamp<std::int64_t>(shape.keys / kKeysPerRun, 1, std::max<std::int64_t>(kMostParts / heads, 1));
  const auto partial = static_cast<std::size_t>(few_partial(shape));  // floats
  const std::size_t scratch = aligned_size(partial * static_cast<std::size_t>(heads * runs) * sizeof(float));
  const std::size_t own = aligned_size(static_cast<std::size_t>(few_scratch(shape)) * sizeof(float));
  const std::int64_t parts = part_count(shape.flops(), kFlopsPerPart / 4, std::min(heads * runs, kMostParts));
  const AttendFew attend = attend_few_function();
  const auto run = [=](CpuStream& stream, Spans inputs, Spans outputs, std::byte* memory) {
    const AttentionOperands operands = operands_of(shape, inputs, outputs);
    auto* const partials = reinterpret_cast<float*>(memory);
    stream.pool().parallel_for(parts, [&](std::int64_t part, std::int64_t slot) {
      auto* const mine = reinterpret_cast<float*>(memory + scratch + static_cast<std::size_t>(slot) * own);
      const Range range = range_of(heads * runs, parts, part);
      for (std::int64_t task = range.begin; task < range.end; ++task) {
        const std::int64_t group = task / runs;
        const Range keys = range_of(shape.keys, runs, task % runs);
        attend(shape, operands, {group / shape.groups, group % shape.groups, keys.begin, keys.size()}, mine,
               partials + static_cast<std::size_t>(task) * partial);
      }
    });
    for (std::int64_t group = 0; group < heads; ++group) {
      join_runs(shape, operands, group / shape.groups, group % shape.groups, runs,
                partials + static_cast<std::size_t>(group * runs) * partial);
    }
  };
  return make_kernel(run, scratch + own * static_cast<std::size_t>(packs.slots(parts)));
}

std::unique_ptr<Kernel> compile(const KernelRequest& request, PackCache& packs) {
  const AttentionShape shape(request);
  return shape.rows() <= kFewRows ? compile_few(shape, packs) : compile_rows(shape, packs);
}

constexpr Implementation kTable[] = {
    {.op = "attention", .kernel = "blocked_attention", .refuse = refuse_attention, .compile = compile},
    {.op = "attention",
     .kernel = "blocked_attention_widened",
     .refuse = widened_refusal<refuse_attention>,
     .compile = widened<compile>},
};

}  // namespace

std::span<const Implementation> attention_implementations() { return kTable; }

}  // namespace ml::cpu
#endif  // HWY_ONCE
