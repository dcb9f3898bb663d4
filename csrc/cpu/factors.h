// The two factors of a step's product, as the multiply-add takes them: rows of states or inputs,
// and weights.
//
// Both are in the type computed in, one value at a time. With instructions for bfloat16 they stay
// in that, and a multiply-add takes two values of each.
#pragma once

#include "storage.h"
#if defined(__AVX512BF16__) && RNN_VECTOR_BYTES == 64
#include <immintrin.h>
#endif

namespace rnn::cpu::RNN_ISA {

template <class S>
struct Factors {
    using type = compute_t<S>;
    using V = Vec<type>;
    static constexpr int depth = 1;  // values that a multiply-add takes, of each lane

    static RNN_HD V everywhere(const type* row) { return V(*row); }
    static RNN_HD V multiply_add(V a, V b, V sum) { return a * b + sum; }
    // A register of weights as the model stores them, the first n values.
    static RNN_HD V weights(const S* w) { return load_full(w); }
    static RNN_HD V weights(const S* w, int n) { return load(w, n); }
    static RNN_HD V values(const type* row) { return V::load(row); }
    static RNN_HD V values(const type* row, int n) { return load(row, n); }
};

#if defined(__AVX512BF16__) && RNN_VECTOR_BYTES == 64
template <>
struct Factors<bf16> {
    using type = bf16;
    using V = Vec<float>;
    static constexpr int depth = 2;

    static RNN_HD V everywhere(const type* row) {
        uint32_t pair;
        std::memcpy(&pair, row, sizeof(pair));
        return V::from_bits(V::Bits{} + pair);
    }
    static RNN_HD V multiply_add(V a, V b, V sum) {
        return V(V::Native(_mm512_dpbf16_ps(__m512(sum.v), __m512bh(a.v), __m512bh(b.v))));
    }
    static RNN_HD V weights(const bf16* w) { return V::load(reinterpret_cast<const float*>(w)); }
    static RNN_HD V weights(const bf16* w, int n) {
        bf16 lanes[2 * V::size] = {};
        for (int i = 0; i < n; i++) lanes[i] = w[i];
        return weights(lanes);
    }
    static RNN_HD V values(const bf16* row) { return weights(row); }
    static RNN_HD V values(const bf16* row, int n) { return weights(row, n); }
};
#endif

template <class S>
using factor_t = typename Factors<S>::type;

// In multiply-adds, how many K values are.
template <class S>
constexpr int64_t depths(int64_t K) {
    return (K + Factors<S>::depth - 1) / Factors<S>::depth;
}

}  // namespace rnn::cpu::RNN_ISA
