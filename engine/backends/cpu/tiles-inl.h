// Tiles of vectors that live in registers, for the files that are compiled once per instruction set. Include behind
// foreach_target.h.
#if defined(ML_TILES_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef ML_TILES_INL_H
#undef ML_TILES_INL_H
#else
#define ML_TILES_INL_H
#endif

#include <hwy/highway.h>
#include <type_traits>

HWY_BEFORE_NAMESPACE();
namespace ml::cpu::HWY_NAMESPACE {

// Vectors beside each other in a tile: with 32 registers 4, with 16 of them 2.
constexpr int kTileVectors = HWY_ARCH_X86 && HWY_TARGET > HWY_AVX3 ? 2 : 4;

// Calls f(std::integral_constant) for n in [1, most].
template <int most, class F>
HWY_INLINE void with_count(int n, F f) {
  if constexpr (most > 0) {
    if (n == most) return f(std::integral_constant<int, most>{});
    with_count<most - 1>(n, f);
  }
}

}  // namespace ml::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
