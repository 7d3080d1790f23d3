// Transcendental functions over tiles.
//
// Vectors where models spend time: exp, expm1, log, log1p, sin, cos, tanh, sigmoid and erf of f32, exp, log, tanh and
// sigmoid of f64, all within 4 units in the last place (tests/unit/cpu/loop_math_test.cpp measures them). The others,
// and sin and cos past kMaxAngle, call the C library element by element, for f32 in double and rounded once: there no
// vector version is worth its size.
#include <cmath>
#include <limits>

#include "engine/backends/cpu/loop_tables.h"
#include "engine/backends/cpu/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/backends/cpu/loop_math.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
// After highway.h: they are compiled once per target too.
#include <hwy/contrib/math/math-inl.h>

#include "engine/backends/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ml::cpu::HWY_NAMESPACE {
namespace {

using codegen::LoopOp;

// erf(x) = x P(x^2) up to 1, 1 - exp(-Q(x)) from there to 4, then 1. P and Q are Chebyshev fits of our own.
struct Erf {
  template <class D, class V = hn::Vec<D>>
  static V run(D d, V x) {
    constexpr float kP[] = {1.128379225730896f,      -0.37612637877464294f,  0.11283782869577408f,
                            -0.026865437626838684f,  0.005221053492277861f,  -0.0008484396385028958f,
                            0.00011268250818829983f, -9.673582098912448e-06f};
    constexpr float kQ[] = {-0.0003032129316125065f, 1.1301666498184204f,    0.6319370865821838f,
                            0.10997824370861053f,    -0.02636471763253212f,  0.004740222357213497f,
                            -0.0005927695310674608f, 4.559062290354632e-05f, -1.6140616025950294e-06f};
    const V one = hn::Set(d, 1.0f);
    const V size = hn::Min(hn::Abs(x), hn::Set(d, 4.0f));
    const V square = hn::Mul(size, size);
    V p = hn::Set(d, kP[7]);
    for (int i = 6; i >= 0; --i) p = hn::MulAdd(p, square, hn::Set(d, kP[i]));
    V q = hn::Set(d, kQ[8]);
    for (int i = 7; i >= 0; --i) q = hn::MulAdd(q, size, hn::Set(d, kQ[i]));
    const V far = hn::Sub(one, hn::Exp(d, hn::Neg(q)));
    const V y = hn::CopySign(hn::IfThenElse(hn::Lt(size, one), hn::Mul(size, p), far), x);
    return hn::IfThenElse(hn::Eq(x, x), y, x);
  }
};
// Beyond this angle the range reduction of a vector loses digits.
constexpr float kMaxAngle = 1000.0f;
struct Sin {
  template <class D, class V = hn::Vec<D>>
  static V run(D d, V x) {
    return hn::Sin(d, x);
  }
  static float one(float x) { return static_cast<float>(std::sin(static_cast<double>(x))); }
};
struct Cos {
  template <class D, class V = hn::Vec<D>>
  static V run(D d, V x) {
    return hn::Cos(d, x);
  }
  static float one(float x) { return static_cast<float>(std::cos(static_cast<double>(x))); }
};

template <class Function, class T>
void vectors(void* out, const void* a, const void*, const void*, std::size_t n) {
  const hn::ScalableTag<T> d;
  T* const to = static_cast<T*>(out);
  const T* const x = static_cast<const T*>(a);
  const std::size_t lanes = hn::Lanes(d);
  std::size_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(Function::run(d, hn::LoadU(d, x + i)), d, to + i);
  if (i == n) return;
  HWY_ALIGN T rest[HWY_MAX_BYTES / sizeof(T)] = {};
  for (std::size_t k = i; k < n; ++k) rest[k - i] = x[k];
  hn::Store(Function::run(d, hn::Load(d, rest)), d, rest);
  for (std::size_t k = i; k < n; ++k) to[k] = rest[k - i];
}

template <class Function>
void angles(void* out, const void* a, const void*, const void*, std::size_t n) {
  const hn::ScalableTag<float> d;
  const std::size_t lanes = hn::Lanes(d);
  float* const to = static_cast<float*>(out);
  const float* const x = static_cast<const float*>(a);
  for (std::size_t i = 0; i < n; i += lanes) {
    HWY_ALIGN float block[HWY_MAX_BYTES / sizeof(float)] = {};
    const std::size_t count = n - i < lanes ? n - i : lanes;
    for (std::size_t k = 0; k < count; ++k) block[k] = x[i + k];
    const auto value = hn::Load(d, block);
    if (hn::AllTrue(d, hn::Lt(hn::Abs(value), hn::Set(d, kMaxAngle)))) {
      hn::Store(Function::run(d, value), d, block);
    } else {
      for (std::size_t k = 0; k < count; ++k) block[k] = Function::one(block[k]);
    }
    for (std::size_t k = 0; k < count; ++k) to[i + k] = block[k];
  }
}

}  // namespace

TileFunction find_math(LoopOp op, bool wide) {
  switch (op) {
    case LoopOp::exp: return wide ? vectors<Exp, double> : vectors<Exp, float>;
    case LoopOp::log: return wide ? vectors<Log, double> : vectors<Log, float>;
    case LoopOp::tanh: return wide ? vectors<Tanh, double> : vectors<Tanh, float>;
    case LoopOp::sigmoid: return wide ? vectors<Sigmoid, double> : vectors<Sigmoid, float>;
    case LoopOp::expm1: return wide ? nullptr : vectors<Expm1, float>;
    case LoopOp::log1p: return wide ? nullptr : vectors<Log1p, float>;
    case LoopOp::erf: return wide ? nullptr : vectors<Erf, float>;
    case LoopOp::sin: return wide ? nullptr : angles<Sin>;
    case LoopOp::cos: return wide ? nullptr : angles<Cos>;
    default: return nullptr;
  }
}

}  // namespace ml::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ml::cpu {
namespace {

HWY_EXPORT(find_math);

template <class T, double (*function)(double)>
void each(void* out, const void* a, const void*, const void*, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    static_cast<T*>(out)[i] = static_cast<T>(function(static_cast<double>(static_cast<const T*>(a)[i])));
  }
}
template <class T, double (*function)(double, double)>
void each_pair(void* out, const void* a, const void* b, const void*, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    static_cast<T*>(out)[i] = static_cast<T>(
        function(static_cast<double>(static_cast<const T*>(a)[i]), static_cast<double>(static_cast<const T*>(b)[i])));
  }
}

template <class T>
TileFunction library_function(codegen::LoopOp op) {
  using codegen::LoopOp;
  switch (op) {
    case LoopOp::expm1: return each<T, std::expm1>;
    case LoopOp::log1p: return each<T, std::log1p>;
    case LoopOp::sin: return each<T, std::sin>;
    case LoopOp::cos: return each<T, std::cos>;
    case LoopOp::tan: return each<T, std::tan>;
    case LoopOp::asin: return each<T, std::asin>;
    case LoopOp::acos: return each<T, std::acos>;
    case LoopOp::atan: return each<T, std::atan>;
    case LoopOp::sinh: return each<T, std::sinh>;
    case LoopOp::cosh: return each<T, std::cosh>;
    case LoopOp::erf: return each<T, std::erf>;
    case LoopOp::pow: return each_pair<T, std::pow>;
    case LoopOp::atan2: return each_pair<T, std::atan2>;
    default: return nullptr;
  }
}

}  // namespace

TileFunction math_function(codegen::LoopOp op, DType dtype) {
  if (!is_floating(dtype)) return nullptr;
  const bool wide = dtype == DType::f64;
  if (const TileFunction vector = HWY_DYNAMIC_DISPATCH(find_math)(op, wide)) return vector;
  return wide ? library_function<double>(op) : library_function<float>(op);
}

TileFunction tile_function(codegen::LoopOp op, DType from, DType to) {
  if (op == codegen::LoopOp::cast) return cast_function(from, to);
  if (const TileFunction function = arithmetic_function(op, from)) return function;
  return math_function(op, from);
}

}  // namespace ml::cpu
#endif  // HWY_ONCE
