// Arithmetic, comparison, logic and selection over tiles. Plain loops that the compiler turns into vectors, once per
// instruction set; what they compute stands in graph/ops/elementwise.cpp.
#include <cmath>
#include <limits>
#include <type_traits>

#include "engine/backends/cpu/loop_tables.h"
#include "engine/backends/cpu/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/backends/cpu/loop_arithmetic.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace ml::cpu::HWY_NAMESPACE {
namespace {

using codegen::LoopOp;

// The type that T computes in without overflow being undefined.
template <class T, bool = std::is_integral_v<T>>
struct Wrapping {
  using type = T;
};
template <class T>
struct Wrapping<T, true> {
  // At least unsigned int: narrower types promote to int, whose product may overflow.
  using type = std::conditional_t<(sizeof(T) < sizeof(unsigned)), unsigned, std::make_unsigned_t<T>>;
};
template <class T>
using W = typename Wrapping<T>::type;

template <class T>
constexpr bool kSignedInt = std::is_integral_v<T>&& std::is_signed_v<T>;

struct Neg {
  template <class T>
  static T run(T a) {
    if constexpr (std::is_floating_point_v<T>) return -a;
    return static_cast<T>(W<T>(0) - static_cast<W<T>>(a));
  }
};
struct Abs {
  template <class T>
  static T run(T a) {
    if constexpr (std::is_floating_point_v<T>) return std::fabs(a);
    if constexpr (kSignedInt<T>) return a < 0 ? Neg::run(a) : a;
    return a;
  }
};
struct Sign {
  template <class T>
  static T run(T a) {
    const T sign = static_cast<T>(static_cast<T>(a > T(0)) - static_cast<T>(a < T(0)));
    if constexpr (std::is_floating_point_v<T>) return a != a ? a : sign;
    return sign;
  }
};
struct Sqrt {
  template <class T>
  static T run(T a) {
    return std::sqrt(a);
  }
};
struct Rsqrt {
  template <class T>
  static T run(T a) {
    return T(1) / std::sqrt(a);
  }
};
struct Reciprocal {
  template <class T>
  static T run(T a) {
    return T(1) / a;
  }
};
struct Floor {
  template <class T>
  static T run(T a) {
    return std::floor(a);
  }
};
struct Ceil {
  template <class T>
  static T run(T a) {
    return std::ceil(a);
  }
};
struct Round {
  template <class T>
  static T run(T a) {
    return std::rint(a);
  }
};
struct IsNan {
  template <class T>
  static std::uint8_t run(T a) {
    return a != a;
  }
};
struct IsInf {
  template <class T>
  static std::uint8_t run(T a) {
    return std::fabs(a) > std::numeric_limits<T>::max();
  }
};
struct BitNot {
  template <class T>
  static T run(T a) {
    return static_cast<T>(~a);
  }
};
struct LogicalNot {
  static std::uint8_t run(std::uint8_t a) { return a == 0; }
};

struct Add {
  template <class T>
  static T run(T a, T b) {
    return static_cast<T>(static_cast<W<T>>(a) + static_cast<W<T>>(b));
  }
};
struct Sub {
  template <class T>
  static T run(T a, T b) {
    return static_cast<T>(static_cast<W<T>>(a) - static_cast<W<T>>(b));
  }
};
struct Mul {
  template <class T>
  static T run(T a, T b) {
    return static_cast<T>(static_cast<W<T>>(a) * static_cast<W<T>>(b));
  }
};
struct Div {
  template <class T>
  static T run(T a, T b) {
    if constexpr (std::is_floating_point_v<T>) return a / b;
    if (b == 0) return 0;
    if constexpr (kSignedInt<T>) {
      if (b == -1) return Neg::run(a);
    }
    return static_cast<T>(a / b);
  }
};
struct Rem {
  template <class T>
  static T run(T a, T b) {
    if constexpr (std::is_floating_point_v<T>) return std::fmod(a, b);
    if (b == 0) return 0;
    if constexpr (kSignedInt<T>) {
      if (b == -1) return 0;
    }
    if constexpr (std::is_integral_v<T>) return static_cast<T>(a % b);
  }
};
struct Maximum {
  template <class T>
  static T run(T a, T b) {
    if constexpr (std::is_floating_point_v<T>) return a != a ? a : (a > b ? a : b);
    return a > b ? a : b;
  }
};
struct Minimum {
  template <class T>
  static T run(T a, T b) {
    if constexpr (std::is_floating_point_v<T>) return a != a ? a : (a < b ? a : b);
    return a < b ? a : b;
  }
};
struct BitAnd {
  template <class T>
  static T run(T a, T b) {
    return static_cast<T>(a & b);
  }
};
struct BitOr {
  template <class T>
  static T run(T a, T b) {
    return static_cast<T>(a | b);
  }
};
struct BitXor {
  template <class T>
  static T run(T a, T b) {
    return static_cast<T>(a ^ b);
  }
};
struct ShiftLeft {
  template <class T>
  static T run(T a, T b) {
    using U = std::make_unsigned_t<T>;
    constexpr U kWidth = 8 * sizeof(T);
    const U by = static_cast<U>(b);
    const auto shifted = static_cast<T>(static_cast<W<T>>(a) << (by & (kWidth - 1)));
    return by < kWidth ? shifted : T(0);
  }
};
struct ShiftRight {
  template <class T>
  static T run(T a, T b) {
    using U = std::make_unsigned_t<T>;
    constexpr U kWidth = 8 * sizeof(T);
    const U by = static_cast<U>(b);
    const auto shifted = static_cast<T>(a >> (by & (kWidth - 1)));
    return by < kWidth ? shifted : static_cast<T>(a < 0 ? -1 : 0);
  }
};
struct Eq {
  template <class T>
  static std::uint8_t run(T a, T b) {
    return a == b;
  }
};
struct Ne {
  template <class T>
  static std::uint8_t run(T a, T b) {
    return a != b;
  }
};
struct Lt {
  template <class T>
  static std::uint8_t run(T a, T b) {
    return a < b;
  }
};
struct Le {
  template <class T>
  static std::uint8_t run(T a, T b) {
    return a <= b;
  }
};
struct Gt {
  template <class T>
  static std::uint8_t run(T a, T b) {
    return a > b;
  }
};
struct Ge {
  template <class T>
  static std::uint8_t run(T a, T b) {
    return a >= b;
  }
};

template <class Op, class T>
void unary(void* out, const void* a, const void*, const void*, std::size_t n) {
  using R = decltype(Op::run(T{}));
  R* const to = static_cast<R*>(out);
  const T* const x = static_cast<const T*>(a);
  ML_INDEPENDENT
  for (std::size_t i = 0; i < n; ++i) to[i] = Op::run(x[i]);
}
template <class Op, class T>
void binary(void* out, const void* a, const void* b, const void*, std::size_t n) {
  using R = decltype(Op::run(T{}, T{}));
  R* const to = static_cast<R*>(out);
  const T* const x = static_cast<const T*>(a);
  const T* const y = static_cast<const T*>(b);
  ML_INDEPENDENT
  for (std::size_t i = 0; i < n; ++i) to[i] = Op::run(x[i], y[i]);
}
template <class T>
void choose(void* out, const void* a, const void* b, const void* c, std::size_t n) {
  T* const to = static_cast<T*>(out);
  const std::uint8_t* const condition = static_cast<const std::uint8_t*>(a);
  const T* const x = static_cast<const T*>(b);
  const T* const y = static_cast<const T*>(c);
  ML_INDEPENDENT
  for (std::size_t i = 0; i < n; ++i) {
    const T on_true = x[i], on_false = y[i];
    to[i] = condition[i] != 0 ? on_true : on_false;
  }
}

template <class T>
TileFunction comparison(LoopOp op) {
  switch (op) {
    case LoopOp::eq: return binary<Eq, T>;
    case LoopOp::ne: return binary<Ne, T>;
    case LoopOp::lt: return binary<Lt, T>;
    case LoopOp::le: return binary<Le, T>;
    case LoopOp::gt: return binary<Gt, T>;
    case LoopOp::ge: return binary<Ge, T>;
    default: return nullptr;
  }
}

template <class T>
TileFunction number(LoopOp op) {
  switch (op) {
    case LoopOp::neg: return unary<Neg, T>;
    case LoopOp::abs: return unary<Abs, T>;
    case LoopOp::sign: return unary<Sign, T>;
    case LoopOp::add: return binary<Add, T>;
    case LoopOp::sub: return binary<Sub, T>;
    case LoopOp::mul: return binary<Mul, T>;
    case LoopOp::div: return binary<Div, T>;
    case LoopOp::rem: return binary<Rem, T>;
    case LoopOp::maximum: return binary<Maximum, T>;
    case LoopOp::minimum: return binary<Minimum, T>;
    case LoopOp::select: return choose<T>;
    default: return comparison<T>(op);
  }
}

template <class T>
TileFunction floating(LoopOp op) {
  switch (op) {
    case LoopOp::sqrt: return unary<Sqrt, T>;
    case LoopOp::rsqrt: return unary<Rsqrt, T>;
    case LoopOp::reciprocal: return unary<Reciprocal, T>;
    case LoopOp::floor: return unary<Floor, T>;
    case LoopOp::ceil: return unary<Ceil, T>;
    case LoopOp::round: return unary<Round, T>;
    case LoopOp::is_nan: return unary<IsNan, T>;
    case LoopOp::is_inf: return unary<IsInf, T>;
    default: return number<T>(op);
  }
}

template <class T>
TileFunction integer(LoopOp op) {
  switch (op) {
    case LoopOp::bit_not: return unary<BitNot, T>;
    case LoopOp::bit_and: return binary<BitAnd, T>;
    case LoopOp::bit_or: return binary<BitOr, T>;
    case LoopOp::bit_xor: return binary<BitXor, T>;
    case LoopOp::shift_left: return binary<ShiftLeft, T>;
    case LoopOp::shift_right: return binary<ShiftRight, T>;
    default: return number<T>(op);
  }
}

// Bool is 0 or 1, so the bitwise operations are the logical ones.
TileFunction logic(LoopOp op) {
  switch (op) {
    case LoopOp::logical_not: return unary<LogicalNot, std::uint8_t>;
    case LoopOp::logical_and: return binary<BitAnd, std::uint8_t>;
    case LoopOp::logical_or: return binary<BitOr, std::uint8_t>;
    case LoopOp::logical_xor: return binary<BitXor, std::uint8_t>;
    case LoopOp::select: return choose<std::uint8_t>;
    default: return comparison<std::uint8_t>(op);
  }
}

TileFunction find(LoopOp op, DType dtype) {
  switch (dtype_info(dtype).compute) {
    case DType::f64: return floating<double>(op);
    case DType::f32: return floating<float>(op);
    case DType::i8: return integer<std::int8_t>(op);
    case DType::i16: return integer<std::int16_t>(op);
    case DType::i32: return integer<std::int32_t>(op);
    case DType::i64: return integer<std::int64_t>(op);
    case DType::u8: return integer<std::uint8_t>(op);
    case DType::u16: return integer<std::uint16_t>(op);
    case DType::u32: return integer<std::uint32_t>(op);
    case DType::u64: return integer<std::uint64_t>(op);
    case DType::boolean: return logic(op);
    default: return nullptr;
  }
}

}  // namespace

TileFunction find_arithmetic(LoopOp op, DType dtype) { return find(op, dtype); }
const char* target_name() { return hwy::TargetName(HWY_TARGET); }

}  // namespace ml::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ml::cpu {

HWY_EXPORT(find_arithmetic);
HWY_EXPORT(target_name);

TileFunction arithmetic_function(codegen::LoopOp op, DType dtype) {
  return HWY_DYNAMIC_DISPATCH(find_arithmetic)(op, dtype);
}
const char* instruction_set() { return HWY_DYNAMIC_DISPATCH(target_name)(); }

}  // namespace ml::cpu
#endif  // HWY_ONCE
