// The end of a sum while it is in a register, for the files that are compiled once per instruction set. Include behind
// foreach_target.h.
#if defined(ML_EPILOGUE_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef ML_EPILOGUE_INL_H
#undef ML_EPILOGUE_INL_H
#else
#define ML_EPILOGUE_INL_H
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <type_traits>

#include "engine/backends/cpu/panel.h"
#include "engine/backends/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ml::cpu::HWY_NAMESPACE {

// Vectors of a row at whose end fewer elements than a vector may be left: `n` are there, or more.
struct RowEnd {
  using D = hn::ScalableTag<float>;
  using V = hn::Vec<D>;
  static constexpr std::size_t kLanes = HWY_LANES(float);

  static HWY_INLINE V read(const float* from, std::size_t n) {
    const D d;
    if (n >= kLanes) return hn::LoadU(d, from);
#if HWY_TARGET <= HWY_AVX2
    return hn::MaskedLoad(hn::FirstN(d, n), d, from);
#else
    alignas(64) float few[kLanes] = {};  // elsewhere a masked load reads whole vectors
    std::copy_n(from, n, few);
    return hn::Load(d, few);
#endif
  }
  static HWY_INLINE void write(V value, float* to, std::size_t n) {
    const D d;
    if (n >= kLanes) return hn::StoreU(value, d, to);
#if HWY_TARGET <= HWY_AVX2
    hn::BlendedStore(value, hn::FirstN(d, n), d, to);
#else
    alignas(64) float few[kLanes];
    hn::Store(value, d, few);
    std::copy_n(few, n, to);
#endif
  }
};

template <Function function>
HWY_INLINE RowEnd::V applied(RowEnd::V x) {
  const RowEnd::D d;
  if constexpr (function == Function::sigmoid) return QuickSigmoid::run(d, x);
  if constexpr (function == Function::silu) return hn::Mul(x, QuickSigmoid::run(d, x));
  if constexpr (function == Function::hard_swish) {
    const RowEnd::V gate = hn::MulAdd(x, hn::Set(d, 1.0f / 6), hn::Set(d, 0.5f));
    return hn::Mul(x, hn::Min(hn::Max(gate, hn::Zero(d)), hn::Set(d, 1.0f)));
  }
  return x;
}

// Calls f(std::integral_constant<Function>): loops over vectors are compiled for each.
template <class F>
HWY_INLINE void with_function(Function function, F f) {
  switch (function) {
    case Function::none: return f(std::integral_constant<Function, Function::none>{});
    case Function::sigmoid: return f(std::integral_constant<Function, Function::sigmoid>{});
    case Function::silu: return f(std::integral_constant<Function, Function::silu>{});
    case Function::hard_swish: return f(std::integral_constant<Function, Function::hard_swish>{});
  }
}

// Between both limits; NaN stays.
HWY_INLINE RowEnd::V clamped(const Epilogue& e, RowEnd::V value) {
  const RowEnd::D d;
  return at_most(hn::Set(d, e.high), at_least(hn::Set(d, e.low), value));
}

// A sum with its bias; `residual` is null or the row that is added, of which `n` elements are there.
template <Function function>
HWY_INLINE RowEnd::V finished(const Epilogue& e, RowEnd::V value, const float* residual, std::size_t n) {
  if (residual != nullptr && !e.residual_last) value = hn::Add(value, RowEnd::read(residual, n));
  if (e.clamps) value = clamped(e, value);
  value = applied<function>(value);
  if (residual != nullptr && e.residual_last) value = hn::Add(value, RowEnd::read(residual, n));
  return value;
}

}  // namespace ml::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
