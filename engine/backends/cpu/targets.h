// Which instruction sets the kernels are compiled for: AVX3, AVX2 and the baseline, because each costs build time.
// Include before any header of Highway.
#pragma once

#undef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)

// The iterations of the next loop do not depend on each other, even where pointers may be equal.
#if defined(__clang__)
#define ML_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define ML_INDEPENDENT _Pragma("GCC ivdep")
#endif

// The next loop, of a small constant number of turns, is written out: what it indexes can live in registers.
#if defined(__clang__)
#define ML_UNROLL _Pragma("clang loop unroll(full)")
#else
#define ML_UNROLL _Pragma("GCC unroll 16")
#endif
