#pragma once

// Functions that are compiled twice, for any processor and for AVX2, which is asked for at run time. On other
// architectures than x86-64 the compiler's default already has vectors.
//
// A body is a function marked ESPNET_INLINE; ESPNET_FOR_AVX2 marks the one that calls it with AVX2 allowed. Both give
// the same bits: the arithmetic is the same, and no operations are fused. Callers choose by a flag whose default is
// `has_avx2()`, so that tests can compare the two.

#define ESPNET_INLINE [[gnu::always_inline]] inline

#if defined(__x86_64__)
#define ESPNET_FOR_AVX2 [[gnu::target("avx2")]]
#else
#define ESPNET_FOR_AVX2
#endif

namespace espnet {

inline bool has_avx2() noexcept {
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx2") != 0;
#else
    return false;
#endif
}

}  // namespace espnet
