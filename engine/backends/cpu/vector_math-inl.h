// Functions over vectors, for the files that are compiled once per instruction set. Include behind foreach_target.h.
//
// The first ones are within 4 units in the last place: tests/unit/cpu/loop_math_test.cpp measures them.
#if defined(ML_VECTOR_MATH_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef ML_VECTOR_MATH_INL_H
#undef ML_VECTOR_MATH_INL_H
#else
#define ML_VECTOR_MATH_INL_H
#endif

#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>
#include <limits>

HWY_BEFORE_NAMESPACE();
namespace ml::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// The limit where x is beyond it; NaN stays. x86 answers the second operand where either is NaN, others as they like.
template <class V>
HWY_INLINE V at_least(V low, V x) {
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_SSE2
  return hn::Max(low, x);
#else
  return hn::IfThenElse(hn::Lt(x, low), low, x);
#endif
}
template <class V>
HWY_INLINE V at_most(V high, V x) {
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_SSE2
  return hn::Min(high, x);
#else
  return hn::IfThenElse(hn::Gt(x, high), high, x);
#endif
}

// Highway's functions do not promise anything outside of their range; these put NaN and the infinities right.
struct Exp {
  template <class D, class V = hn::Vec<D>>
  HWY_INLINE static V run(D d, V x) {
    using T = hn::TFromD<D>;
    const V limit = hn::Set(d, sizeof(T) == 4 ? T(89) : T(710));
    const V low = hn::Set(d, sizeof(T) == 4 ? T(-105) : T(-1001));
    const V y = hn::Exp(d, hn::Max(hn::Min(x, limit), low));
    return hn::IfThenElse(hn::Eq(x, x), y, x);
  }
};
struct Expm1 {
  template <class D, class V = hn::Vec<D>>
  HWY_INLINE static V run(D d, V x) {
    using T = hn::TFromD<D>;
    const V limit = hn::Set(d, sizeof(T) == 4 ? T(89) : T(710));
    const V low = hn::Set(d, sizeof(T) == 4 ? T(-105) : T(-1001));
    const V y = hn::Expm1(d, hn::Max(hn::Min(x, limit), low));
    const V tiny = hn::IfThenElse(hn::Lt(hn::Abs(x), hn::Set(d, std::numeric_limits<T>::epsilon() / 2)), x, y);
    return hn::IfThenElse(hn::Eq(x, x), tiny, x);
  }
};
struct Log {
  template <class D, class V = hn::Vec<D>>
  HWY_INLINE static V run(D d, V x) {
    using T = hn::TFromD<D>;
    const V zero = hn::Zero(d);
    const V infinity = hn::Set(d, std::numeric_limits<T>::infinity());
    V y = hn::Log(d, x);
    y = hn::IfThenElse(hn::Lt(x, infinity), y, x);  // infinity and NaN answer themselves
    y = hn::IfThenElse(hn::Eq(x, zero), hn::Neg(infinity), y);
    return hn::IfThenElse(hn::Lt(x, zero), hn::Set(d, std::numeric_limits<T>::quiet_NaN()), y);
  }
};
struct Log1p {
  template <class D, class V = hn::Vec<D>>
  HWY_INLINE static V run(D d, V x) {
    using T = hn::TFromD<D>;
    const V infinity = hn::Set(d, std::numeric_limits<T>::infinity());
    const V pole = hn::Set(d, T(-1));
    V y = hn::Log1p(d, x);
    y = hn::IfThenElse(hn::Lt(x, infinity), y, x);
    y = hn::IfThenElse(hn::Eq(x, pole), hn::Neg(infinity), y);
    return hn::IfThenElse(hn::Lt(x, pole), hn::Set(d, std::numeric_limits<T>::quiet_NaN()), y);
  }
};
struct Tanh {
  template <class D, class V = hn::Vec<D>>
  HWY_INLINE static V run(D d, V x) {
    const V y = hn::Tanh(d, x);
    return hn::IfThenElse(hn::Eq(x, x), y, x);
  }
};
struct Sigmoid {
  template <class D, class V = hn::Vec<D>>
  HWY_INLINE static V run(D d, V x) {
    using T = hn::TFromD<D>;
    const V one = hn::Set(d, T(1));
    return hn::Div(one, hn::Add(one, Exp::run(d, hn::Neg(x))));
  }
};
// e^x of f32 for x <= 0, in few instructions and within 2 units in the last place; 0 below -87.3. Cephes' polynomial.
struct ExpNegative {
  template <class D, class V = hn::Vec<D>>
  HWY_INLINE static V run(D d, V x) {
    const hn::RebindToSigned<D> di;
    const V n = hn::Round(hn::Mul(x, hn::Set(d, 1.44269504088896341f)));
    const V r = hn::NegMulAdd(n, hn::Set(d, -2.12194440e-4f), hn::NegMulAdd(n, hn::Set(d, 0.693359375f), x));
    V p = hn::Set(d, 1.9875691500e-4f);
    p = hn::MulAdd(p, r, hn::Set(d, 1.3981999507e-3f));
    p = hn::MulAdd(p, r, hn::Set(d, 8.3334519073e-3f));
    p = hn::MulAdd(p, r, hn::Set(d, 4.1665795894e-2f));
    p = hn::MulAdd(p, r, hn::Set(d, 1.6666665459e-1f));
    p = hn::MulAdd(p, r, hn::Set(d, 5.0000001201e-1f));
    p = hn::MulAdd(hn::Mul(r, r), p, hn::Add(r, hn::Set(d, 1.0f)));
    const auto exponent = hn::Add(hn::ConvertTo(di, n), hn::Set(di, 127));
    const V power = hn::BitCast(d, hn::ShiftLeft<23>(exponent));
    return hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, -87.3f)), hn::Mul(p, power));
  }
};

// 1 / x of f32 for normal x whose reciprocal is normal, within 1 unit in the last place: where an estimate has 14 bits,
// one step of Newton's costs a quarter of a division.
struct QuickReciprocal {
  template <class D, class V = hn::Vec<D>>
  HWY_INLINE static V run(D d, V x) {
    const V one = hn::Set(d, 1.0f);
#if HWY_TARGET <= HWY_AVX3
    const V y = hn::ApproximateReciprocal(x);
    return hn::MulAdd(y, hn::NegMulAdd(x, y, one), y);
#else
    return hn::Div(one, x);
#endif
  }
};

// Functions of f32 between -1 and 1: within 3 units in the last place.
//
// 1 / (1 + 2^n e^r) with -x = n ln 2 + r; a sum with 1.5 * 2^23 + 127 rounds n and leaves its exponent in the low bits.
// The polynomial is a fit of our own.
struct QuickSigmoid {
  template <class D, class V = hn::Vec<D>>
  HWY_INLINE static V run(D d, V x) {
    const hn::RebindToUnsigned<D> du;
    const V one = hn::Set(d, 1.0f), low = hn::Set(d, -87.3f), rounding = hn::Set(d, 12583039.0f);
    const V near = at_most(hn::Set(d, 87.3f), at_least(low, x));
    const V sum = hn::MulAdd(near, hn::Set(d, -1.44269504088896341f), rounding);
    const V n = hn::Sub(sum, rounding);
    V r = hn::NegMulSub(n, hn::Set(d, 0.693359375f), near);
    r = hn::NegMulAdd(n, hn::Set(d, -2.12194440e-4f), r);
    V p = hn::Set(d, 1.3814583653584123e-3f);
    p = hn::MulAdd(p, r, hn::Set(d, 8.368724025785923e-3f));
    p = hn::MulAdd(p, r, hn::Set(d, 4.166838899254799e-2f));
    p = hn::MulAdd(p, r, hn::Set(d, 1.666652113199234e-1f));
    p = hn::MulAdd(p, r, hn::Set(d, 4.999999403953552e-1f));
    p = hn::MulAdd(p, r, one);
    p = hn::MulAdd(p, r, one);
    const V power = hn::BitCast(d, hn::ShiftLeft<23>(hn::BitCast(du, sum)));
    const V y = QuickReciprocal::run(d, hn::MulAdd(p, power, one));
    return hn::IfThenZeroElse(hn::Lt(x, low), y);
  }
};
// x + x^3 P(x^2) up to 0.625, a fit of our own, and (1 - e) / (1 + e) with e = exp(-2 |x|) from there.
struct QuickTanh {
  template <class D, class V = hn::Vec<D>>
  HWY_INLINE static V run(D d, V x) {
    const V one = hn::Set(d, 1.0f), size = hn::Abs(x), square = hn::Mul(x, x);
    const V e = ExpNegative::run(d, hn::Mul(hn::Set(d, -2.0f), size));
    const V far = hn::CopySign(hn::Div(hn::Sub(one, e), hn::Add(one, e)), x);
    V p = hn::Set(d, -0.005717054475098848f);
    p = hn::MulAdd(p, square, hn::Set(d, 0.020650597289204597f));
    p = hn::MulAdd(p, square, hn::Set(d, -0.053743500262498856f));
    p = hn::MulAdd(p, square, hn::Set(d, 0.13331490755081177f));
    p = hn::MulAdd(p, square, hn::Set(d, -0.3333328366279602f));
    const V near = hn::MulAdd(hn::Mul(p, square), x, x);
    return hn::IfThenElse(hn::Lt(size, hn::Set(d, 0.625f)), near, far);
  }
};

}  // namespace ml::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
