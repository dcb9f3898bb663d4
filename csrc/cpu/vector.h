// One SIMD register as a value type, over the compiler's own vector extension (GCC, Clang).
//
// Every function is inlined, so the same source serves several instruction sets in one binary
// without two definitions of one symbol.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "../cell.h"
#if defined(__AVX512F__) && RNN_VECTOR_BYTES == 64
#include <immintrin.h>
#endif

namespace rnn::cpu::RNN_ISA {

template <class T>
struct Register;
template <>
struct Register<float> {
    using Int = uint32_t;
    typedef float Native __attribute__((vector_size(RNN_VECTOR_BYTES)));
    typedef uint32_t Bits __attribute__((vector_size(RNN_VECTOR_BYTES)));
};
template <>
struct Register<double> {
    using Int = uint64_t;
    typedef double Native __attribute__((vector_size(RNN_VECTOR_BYTES)));
    typedef uint64_t Bits __attribute__((vector_size(RNN_VECTOR_BYTES)));
};

template <class T>
struct Vec {
    static constexpr int size = RNN_VECTOR_BYTES / sizeof(T);
    using Int = typename Register<T>::Int;
    using Native = typename Register<T>::Native;
    using Bits = typename Register<T>::Bits;

    Native v;

    Vec() = default;
    RNN_HD Vec(Native x) : v(x) {}
    RNN_HD explicit Vec(T x) : v(x - Native{}) {}  // minus zero keeps the sign of -0

    static RNN_HD Vec load(const T* p) {
        Vec r;
        std::memcpy(&r.v, p, sizeof(r.v));
        return r;
    }
    RNN_HD void store(T* p) const { std::memcpy(p, &v, sizeof(v)); }

    RNN_HD Bits bits() const { return (Bits)v; }
    static RNN_HD Vec from_bits(Bits b) { return Vec((Native)b); }
};

template <class T>
RNN_HD Vec<T> operator+(Vec<T> a, Vec<T> b) {
    return a.v + b.v;
}
template <class T>
RNN_HD Vec<T> operator-(Vec<T> a, Vec<T> b) {
    return a.v - b.v;
}
template <class T>
RNN_HD Vec<T> operator*(Vec<T> a, Vec<T> b) {
    return a.v * b.v;
}
template <class T>
RNN_HD Vec<T> operator/(Vec<T> a, Vec<T> b) {
    return a.v / b.v;
}

// NaN passes through: both comparisons are false, and AVX-512 then takes the second operand.
template <class T>
RNN_HD Vec<T> clamp(Vec<T> x, T lo, T hi) {
#if defined(__AVX512F__) && RNN_VECTOR_BYTES == 64
    if constexpr (std::is_same_v<T, float>) {
        const __m512 low = _mm512_max_ps(_mm512_set1_ps(lo), __m512(x.v));
        return (typename Vec<T>::Native)_mm512_min_ps(_mm512_set1_ps(hi), low);
    }
#endif
    x.v = x.v < lo ? Vec<T>(lo).v : x.v;
    return x.v > hi ? Vec<T>(hi).v : x.v;
}

// The lower halves of a and b, or their upper ones, lane by lane in turns.
template <bool Upper, class T, std::size_t... I>
RNN_HD Vec<T> zip(Vec<T> a, Vec<T> b, std::index_sequence<I...>) {
    constexpr int L = Vec<T>::size, first = Upper ? L / 2 : 0;
#if defined(__clang__) || __GNUC__ >= 12
    return __builtin_shufflevector(a.v, b.v, (first + int(I / 2) + (I % 2 ? L : 0))...);
#else
    using Bits = typename Vec<T>::Bits;
    return __builtin_shuffle(a.v, b.v, Bits{(first + I / 2 + (I % 2 ? L : 0))...});
#endif
}

// Lane j of x[i] and lane i of x[j] change places. Every round turns the bits of (i, j) by one.
template <class T>
RNN_HD void transpose(Vec<T>* x) {
    constexpr int L = Vec<T>::size;
    constexpr auto lanes = std::make_index_sequence<L>{};
#pragma GCC unroll 4
    for (int round = 1; round < L; round *= 2) {
        Vec<T> y[L];
#pragma GCC unroll 8
        for (int i = 0; i < L / 2; i++) {
            y[2 * i] = zip<false>(x[i], x[i + L / 2], lanes);
            y[2 * i + 1] = zip<true>(x[i], x[i + L / 2], lanes);
        }
#pragma GCC unroll 16
        for (int i = 0; i < L; i++) x[i] = y[i];
    }
}

// Lane i is the sum of x[i]'s lanes.
template <class T>
RNN_HD Vec<T> sums(Vec<T>* x) {
    constexpr int L = Vec<T>::size;
    constexpr auto lanes = std::make_index_sequence<L>{};
#pragma GCC unroll 4
    for (int half = L / 2; half; half /= 2)
#pragma GCC unroll 8
        for (int i = 0; i < half; i++)
            x[i] = zip<false>(x[i], x[i + half], lanes) + zip<true>(x[i], x[i + half], lanes);
    return x[0];
}

}  // namespace rnn::cpu::RNN_ISA
