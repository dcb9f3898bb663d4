// One SIMD register as a value type, over the compiler's own vector extension (GCC, Clang).
//
// Every function is inlined, so the same source serves several instruction sets in one binary
// without two definitions of one symbol.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "../cell.h"

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

// NaN passes through: both comparisons are false.
template <class T>
RNN_HD Vec<T> clamp(Vec<T> x, T lo, T hi) {
    x.v = x.v < lo ? Vec<T>(lo).v : x.v;
    return x.v > hi ? Vec<T>(hi).v : x.v;
}

template <class T>
RNN_HD T sum(Vec<T> x) {
    for (int half = Vec<T>::size / 2; half; half /= 2)
        for (int i = 0; i < half; i++) x.v[i] += x.v[i + half];
    return x.v[0];
}

}  // namespace rnn::cpu::RNN_ISA
