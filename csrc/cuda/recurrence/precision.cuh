// What a recurrence is stored in, what its products' factors are, and what its cells compute in.
#pragma once

#include <ptx/matrix.h>

#include <cmath>

#include "../storage.h"
#include "approximate.h"

namespace rnn::cuda {

// Factors as they are stored; float32 rounded to TF32.
template <class S>
struct Rounded {
    using Storage = S;
    using Value = Approximate;
    static constexpr bool exact = false;
};

// float32, each factor as the sum of two TF32: as exact as products of float32 (3xTF32: Ootomo and
// Yokota 2022, "Recovering single precision accuracy from Tensor Cores").
struct Exact {
    using Storage = float;
    using Value = float;
    static constexpr bool exact = true;
};

template <class P>
using storage_t = typename P::Storage;

__device__ inline float plain(float x) { return x; }
__device__ inline float plain(Approximate x) { return x.value; }

// What goes into a product of what is stored.
template <class P>
__device__ inline uint4 as_factors(uint4 bits) {
    if constexpr (sizeof(storage_t<P>) == 4 && !P::exact) {
        const auto round = [](uint32_t word) { return ptx::to_tf32(__uint_as_float(word)); };
        return {round(bits.x), round(bits.y), round(bits.z), round(bits.w)};
    } else {
        return bits;
    }
}
template <class P>
__device__ inline storage_t<P> as_factor(float x) {
    if constexpr (sizeof(storage_t<P>) == 4 && !P::exact) {
        return __uint_as_float(ptx::to_tf32(x));
    } else {
        storage_t<P> factor;
        narrow(x, factor);
        return factor;
    }
}

// d += a·b, as ptx::mma has them.
template <class P>
__device__ inline void accumulate(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    if constexpr (P::exact) {
        uint32_t large_a[4], small_a[4], large_b[2], small_b[2];
        const auto split = [](uint32_t word, uint32_t& large, uint32_t& small) {
            // Not once for all steps: both halves of all weights do not fit into registers.
            asm volatile("" : "+r"(word));
            large = ptx::to_tf32(__uint_as_float(word));
            small = ptx::to_tf32(__uint_as_float(word) - __uint_as_float(large));
        };
#pragma unroll
        for (int i = 0; i < 4; i++) split(a[i], large_a[i], small_a[i]);
#pragma unroll
        for (int i = 0; i < 2; i++) split(b[i], large_b[i], small_b[i]);
        // The unit cuts its sums off, so those over many factors are made outside of it.
        float sum[4] = {}, rest[4] = {};
        ptx::mma<float>(rest, small_a, large_b);
        ptx::mma<float>(rest, large_a, small_b);
        ptx::mma<float>(sum, large_a, large_b);
        // Where a factor is infinite its small part means nothing, and times zero would be NaN.
#pragma unroll
        for (int i = 0; i < 4; i++) d[i] += fabsf(rest[i]) < INFINITY ? sum[i] + rest[i] : sum[i];
    } else {
        ptx::mma<storage_t<P>>(d, a, b);
    }
}

}  // namespace rnn::cuda
