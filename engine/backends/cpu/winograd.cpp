#include "engine/backends/cpu/winograd.h"

#include <algorithm>
#include <cstddef>

#include "engine/backends/cpu/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/backends/cpu/winograd.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "engine/backends/cpu/epilogue-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ml::cpu::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;
constexpr std::size_t kLanes = HWY_LANES(float);

// B^T x for the points 0, 1, -1, 2, -2 and infinity.
HWY_INLINE void transform_image(const V (&x)[6], V (&y)[6]) {
  const D d;
  const V two = hn::Set(d, 2.0f), four = hn::Set(d, 4.0f), five = hn::Set(d, 5.0f);
  const V even = hn::NegMulAdd(four, x[2], x[4]), odd = hn::NegMulAdd(four, x[1], x[3]);
  const V near_even = hn::Sub(x[4], x[2]), near_odd = hn::Mul(two, hn::Sub(x[3], x[1]));
  y[0] = hn::Add(hn::MulAdd(four, x[0], x[4]), hn::Neg(hn::Mul(five, x[2])));
  y[1] = hn::Add(even, odd);
  y[2] = hn::Sub(even, odd);
  y[3] = hn::Add(near_even, near_odd);
  y[4] = hn::Sub(near_even, near_odd);
  y[5] = hn::Add(hn::MulAdd(four, x[1], x[5]), hn::Neg(hn::Mul(five, x[3])));
}

// A^T x.
HWY_INLINE void transform_results(const V (&x)[6], V (&y)[4]) {
  const D d;
  const V four = hn::Set(d, 4.0f), two = hn::Set(d, 2.0f), eight = hn::Set(d, 8.0f);
  const V sum = hn::Add(x[1], x[2]), difference = hn::Sub(x[1], x[2]);
  const V far_sum = hn::Add(x[3], x[4]), far_difference = hn::Sub(x[3], x[4]);
  y[0] = hn::Add(hn::Add(x[0], sum), far_sum);
  y[1] = hn::MulAdd(two, far_difference, difference);
  y[2] = hn::MulAdd(four, far_sum, sum);
  y[3] = hn::Add(hn::MulAdd(eight, far_difference, difference), x[5]);
}

// G x.
using Wide = hn::Vec<hn::ScalableTag<double>>;
HWY_INLINE void transform_weights(const Wide (&x)[3], Wide (&y)[6]) {
  const hn::ScalableTag<double> d;
  const Wide twelfth = hn::Set(d, 1.0 / 12), sixth = hn::Set(d, 1.0 / 6);
  const Wide ends = hn::Mul(hn::Add(x[0], x[2]), sixth), middle = hn::Mul(x[1], sixth);
  const Wide far_ends = hn::MulAdd(x[2], sixth, hn::Mul(x[0], hn::Set(d, 1.0 / 24))), far = hn::Mul(x[1], twelfth);
  y[0] = hn::Mul(x[0], hn::Set(d, 0.25));
  y[1] = hn::Neg(hn::Add(ends, middle));
  y[2] = hn::Sub(middle, ends);
  y[3] = hn::Add(far_ends, far);
  y[4] = hn::Sub(far_ends, far);
  y[5] = x[2];
}

}  // namespace

void weights(const float* windows, std::int64_t columns, float* to, std::int64_t stride) {
  const hn::ScalableTag<double> wide;
  const hn::Rebind<float, decltype(wide)> narrow;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(wide));
  for (std::int64_t c = 0; c < columns; c += lanes) {
    Wide between[6][3];
    for (int x = 0; x < 3; ++x) {
      Wide column[3], done[6];
      for (int y = 0; y < 3; ++y)
        column[y] = hn::PromoteTo(wide, hn::LoadU(narrow, windows + (y * 3 + x) * columns + c));
      transform_weights(column, done);
      for (int y = 0; y < 6; ++y) between[y][x] = done[y];
    }
    for (int y = 0; y < 6; ++y) {
      Wide done[6];
      transform_weights(between[y], done);
      for (int x = 0; x < 6; ++x) hn::StoreU(hn::DemoteTo(narrow, done[x]), narrow, to + (y * 6 + x) * stride + c);
    }
  }
}

void image_tile(const float* const* places, std::int64_t channels, float* to, std::int64_t stride) {
  const D d;
  for (std::int64_t c = 0; c < channels; c += static_cast<std::int64_t>(kLanes)) {
    const auto n = static_cast<std::size_t>(channels - c);
    V between[6][6];
    for (int x = 0; x < 6; ++x) {
      V column[6], done[6];
      for (int y = 0; y < 6; ++y) {
        const float* const place = places[y * 6 + x];
        column[y] = place == nullptr ? hn::Zero(d) : RowEnd::read(place + c, n);
      }
      transform_image(column, done);
      for (int y = 0; y < 6; ++y) between[y][x] = done[y];
    }
    for (int y = 0; y < 6; ++y) {
      V done[6];
      transform_image(between[y], done);
      for (int x = 0; x < 6; ++x) RowEnd::write(done[x], to + (y * 6 + x) * stride + c, n);
    }
  }
}

void result_tile(const float* from, std::int64_t stride, std::int64_t channels, float* const* out,
                 const Epilogue& epilogue) {
  const D d;
  for (std::int64_t c = 0; c < channels; c += static_cast<std::int64_t>(kLanes)) {
    const auto n = static_cast<std::size_t>(channels - c);
    V between[4][6];
    for (int x = 0; x < 6; ++x) {
      V column[6], done[4];
      for (int y = 0; y < 6; ++y) column[y] = RowEnd::read(from + (y * 6 + x) * stride + c, n);
      transform_results(column, done);
      for (int y = 0; y < 4; ++y) between[y][x] = done[y];
    }
    const V bias = epilogue.bias == nullptr ? hn::Zero(d) : RowEnd::read(epilogue.bias + c, n);
    alignas(64) float done[4 * 4 * kLanes];
    for (int y = 0; y < 4; ++y) {
      V line[4];
      transform_results(between[y], line);
      for (int x = 0; x < 4; ++x)
        hn::Store(hn::Add(line[x], bias), d, done + static_cast<std::size_t>(y * 4 + x) * kLanes);
    }
    with_function(epilogue.function, [&](auto function) {
      for (int i = 0; i < 4 * 4; ++i) {
        if (out[i] == nullptr) continue;
        const V value = hn::Load(d, done + static_cast<std::size_t>(i) * kLanes);
        const float* const residual = epilogue.residual == nullptr ? nullptr : epilogue.residual[i] + c;
        RowEnd::write(finished<function()>(epilogue, value, residual, n), out[i] + c, n);
      }
    });
  }
}

}  // namespace ml::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ml::cpu {
namespace {

HWY_EXPORT(image_tile);
HWY_EXPORT(result_tile);
HWY_EXPORT(weights);

}  // namespace

const WinogradKernel& winograd_kernel() {
  static const WinogradKernel kernel{HWY_DYNAMIC_DISPATCH(image_tile), HWY_DYNAMIC_DISPATCH(result_tile),
                                     HWY_DYNAMIC_DISPATCH(weights)};
  return kernel;
}

}  // namespace ml::cpu
#endif  // HWY_ONCE
