// Reductions over tiles. The order of every fold follows from its sizes: lanes first, then rows, then tiles.
#include <limits>
#include <type_traits>

#include "engine/backends/cpu/loop_tiles.h"
#include "engine/backends/cpu/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/backends/cpu/loop_fold.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace ml::cpu::HWY_NAMESPACE {
namespace {

using codegen::LoopOp;

struct Sum {
  template <class T>
  static constexpr T start() {
    return T(0);
  }
  template <class T>
  static T run(T a, T b) {
    if constexpr (std::is_integral_v<T>) {
      return static_cast<T>(static_cast<std::uint64_t>(a) + static_cast<std::uint64_t>(b));
    } else {
      return a + b;
    }
  }
};
struct Product {
  template <class T>
  static constexpr T start() {
    return T(1);
  }
  template <class T>
  static T run(T a, T b) {
    if constexpr (std::is_integral_v<T>) {
      return static_cast<T>(static_cast<std::uint64_t>(a) * static_cast<std::uint64_t>(b));
    } else {
      return a * b;
    }
  }
};
struct Max {
  template <class T>
  static constexpr T start() {
    return std::is_floating_point_v<T> ? -std::numeric_limits<T>::infinity() : std::numeric_limits<T>::lowest();
  }
  template <class T>
  static T run(T a, T b) {
    return a != a ? a : (b <= a ? a : b);
  }
};
struct Min {
  template <class T>
  static constexpr T start() {
    return std::is_floating_point_v<T> ? std::numeric_limits<T>::infinity() : std::numeric_limits<T>::max();
  }
  template <class T>
  static T run(T a, T b) {
    return a != a ? a : (b >= a ? a : b);
  }
};

// Types that are folded often get vectors; the others get short code.
template <class T>
constexpr std::size_t kLanesOf = std::is_floating_point_v<T> || std::is_same_v<T, std::int32_t> ? 32 : 1;

// A run of registers, folded in kLanes interleaved chains.
template <class Op, class T>
T fold_run(const T* x, std::size_t n) {
  constexpr std::size_t kLanes = kLanesOf<T>;
  if (n < kLanes || kLanes == 1) {
    T total = Op::template start<T>();
    for (std::size_t i = 0; i < n; ++i) total = Op::run(total, x[i]);
    return total;
  }
  T lanes[kLanes];
  for (std::size_t l = 0; l < kLanes; ++l) lanes[l] = x[l];
  std::size_t i = kLanes;
  for (; i + kLanes <= n; i += kLanes) {
    for (std::size_t l = 0; l < kLanes; ++l) lanes[l] = Op::run(lanes[l], x[i + l]);
  }
  for (std::size_t l = 0; i < n; ++i, ++l) lanes[l] = Op::run(lanes[l], x[i]);
  for (std::size_t width = kLanes / 2; width > 0; width /= 2) {
    for (std::size_t l = 0; l < width; ++l) lanes[l] = Op::run(lanes[l], lanes[l + width]);
  }
  return lanes[0];
}

// Rows folded into one: acc[i] with x[r * inner + i] for all r.
template <class Op, class T, class A>
void fold_rows(A* acc, const T* x, std::size_t rows, std::size_t inner) {
  constexpr std::size_t kLanes = kLanesOf<T>;
  if constexpr (kLanes == 1) {
    for (std::size_t r = 0; r < rows; ++r) {
      for (std::size_t i = 0; i < inner; ++i) acc[i] = Op::run(acc[i], x[r * inner + i]);
    }
    return;
  }
  std::size_t i = 0;
  for (; i + kLanes <= inner; i += kLanes) {
    T lanes[kLanes];
    for (std::size_t l = 0; l < kLanes; ++l) lanes[l] = x[i + l];
    for (std::size_t r = 1; r < rows; ++r) {
      const T* const row = x + r * inner + i;
      for (std::size_t l = 0; l < kLanes; ++l) lanes[l] = Op::run(lanes[l], row[l]);
    }
    for (std::size_t l = 0; l < kLanes; ++l) acc[i + l] = Op::run(acc[i + l], static_cast<A>(lanes[l]));
  }
  if (i == inner) return;
  T lanes[kLanes];
  const std::size_t rest = inner - i;
  for (std::size_t l = 0; l < rest; ++l) lanes[l] = x[i + l];
  for (std::size_t r = 1; r < rows; ++r) {
    const T* const row = x + r * inner + i;
    for (std::size_t l = 0; l < rest; ++l) lanes[l] = Op::run(lanes[l], row[l]);
  }
  for (std::size_t l = 0; l < rest; ++l) acc[i + l] = Op::run(acc[i + l], static_cast<A>(lanes[l]));
}

template <class Op, class T, class A>
void fold_tile(void* accumulators, std::ptrdiff_t row_stride, std::ptrdiff_t inner_stride, const void* tile,
               std::size_t rows, std::size_t inner) {
  A* const acc = static_cast<A*>(accumulators);
  const T* const x = static_cast<const T*>(tile);
  if (inner_stride == 0 && row_stride == 0) {
    *acc = Op::run(*acc, static_cast<A>(fold_run<Op>(x, rows * inner)));
  } else if (inner_stride == 0) {
    for (std::size_t r = 0; r < rows; ++r) {
      A& at = acc[static_cast<std::ptrdiff_t>(r) * row_stride];
      at = Op::run(at, static_cast<A>(fold_run<Op>(x + r * inner, inner)));
    }
  } else if (row_stride == 0 && inner_stride == 1) {
    fold_rows<Op>(acc, x, rows, inner);
  } else if (inner_stride == 1) {
    for (std::size_t r = 0; r < rows; ++r) {
      fold_rows<Op>(acc + static_cast<std::ptrdiff_t>(r) * row_stride, x + r * inner, 1, inner);
    }
  } else {
    for (std::size_t r = 0; r < rows; ++r) {
      A* const row = acc + static_cast<std::ptrdiff_t>(r) * row_stride;
      for (std::size_t i = 0; i < inner; ++i) {
        A& at = row[static_cast<std::ptrdiff_t>(i) * inner_stride];
        at = Op::run(at, static_cast<A>(x[r * inner + i]));
      }
    }
  }
}

template <class A, class T>
void finish(void* out, std::ptrdiff_t stride, const void* acc, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    static_cast<T*>(out)[static_cast<std::ptrdiff_t>(i) * stride] = static_cast<T>(static_cast<const A*>(acc)[i]);
  }
}
template <class A, std::uint16_t (*to_bits)(float)>
void finish_narrow(void* out, std::ptrdiff_t stride, const void* acc, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    static_cast<std::uint16_t*>(out)[static_cast<std::ptrdiff_t>(i) * stride] =
        to_bits(static_cast<float>(static_cast<const A*>(acc)[i]));
  }
}
template <class Op, class A>
void start(void* acc, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) static_cast<A*>(acc)[i] = Op::template start<A>();
}
template <class Op, class A>
void merge(void* acc, const void* other, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    static_cast<A*>(acc)[i] = Op::run(static_cast<A*>(acc)[i], static_cast<const A*>(other)[i]);
  }
}

template <class Op, class T, class A>
Fold functions() {
  return {fold_tile<Op, T, A>, start<Op, A>, merge<Op, A>, finish<A, T>, sizeof(A)};
}
template <class Op>
Fold find(DType dtype) {
  // Sums and products of floats in double, so that the number of elements does not show.
  constexpr bool kWide = std::is_same_v<Op, Sum> || std::is_same_v<Op, Product>;
  using Accumulator = std::conditional_t<kWide, double, float>;
  Fold narrow = functions<Op, float, Accumulator>();
  switch (dtype) {
    case DType::f64: return functions<Op, double, double>();
    case DType::f16: narrow.finish = finish_narrow<Accumulator, f32_to_f16>; return narrow;
    case DType::bf16: narrow.finish = finish_narrow<Accumulator, f32_to_bf16>; return narrow;
    case DType::f32: return narrow;
    case DType::i8: return functions<Op, std::int8_t, std::int8_t>();
    case DType::i16: return functions<Op, std::int16_t, std::int16_t>();
    case DType::i32: return functions<Op, std::int32_t, std::int32_t>();
    case DType::i64: return functions<Op, std::int64_t, std::int64_t>();
    case DType::boolean:
    case DType::u8: return functions<Op, std::uint8_t, std::uint8_t>();
    case DType::u16: return functions<Op, std::uint16_t, std::uint16_t>();
    case DType::u32: return functions<Op, std::uint32_t, std::uint32_t>();
    default: return functions<Op, std::uint64_t, std::uint64_t>();
  }
}

}  // namespace

Fold find_fold(LoopOp op, DType dtype) {
  switch (op) {
    case LoopOp::fold_prod: return find<Product>(dtype);
    case LoopOp::fold_max: return find<Max>(dtype);
    case LoopOp::fold_min: return find<Min>(dtype);
    default: return find<Sum>(dtype);
  }
}

}  // namespace ml::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ml::cpu {

HWY_EXPORT(find_fold);

Fold fold_functions(codegen::LoopOp op, DType dtype) { return HWY_DYNAMIC_DISPATCH(find_fold)(op, dtype); }

}  // namespace ml::cpu
#endif  // HWY_ONCE
