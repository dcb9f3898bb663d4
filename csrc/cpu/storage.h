// The four storage types and their conversion to and from the type that is computed in:
// float for fp16, bf16 and fp32, double for fp64. Rounding is to nearest even.
#pragma once

#include "vector.h"

namespace rnn::cpu::RNN_ISA {

struct bf16 {
    uint16_t bits;
};
struct fp16 {
    uint16_t bits;
};

template <class S>
struct Compute {
    using type = float;
};
template <>
struct Compute<double> {
    using type = double;
};
template <class S>
using compute_t = typename Compute<S>::type;

using Word = Vec<float>::Bits;  // lanes of 32 bits
typedef uint16_t Half __attribute__((vector_size(RNN_VECTOR_BYTES / 2)));

RNN_HD Word widen(bf16, Word h) { return h << 16; }

// The exponent is rebased by a multiplication, which also normalises the subnormals.
RNN_HD Word widen(fp16, Word h) {
    Word magnitude = h & 0x7fff;
    Word number = (Vec<float>::from_bits(magnitude << 13) * Vec<float>(0x1p112f)).bits();
    Word special = (magnitude << 13) | 0x7f800000;
    return (magnitude >= 0x7c00 ? special : number) | ((h & 0x8000) << 16);
}

RNN_HD Word narrow(bf16, Word f) {
    Word rounded = (f + 0x7fff + ((f >> 16) & 1)) >> 16;
    Word quiet = (f >> 16) | 0x40;
    return (f & 0x7fffffff) > 0x7f800000 ? quiet : rounded;
}

RNN_HD Word narrow(fp16, Word f) {
    Word sign = (f >> 16) & 0x8000, magnitude = f & 0x7fffffff;
    Word normal = (magnitude + 0xfff + ((magnitude >> 13) & 1) - 0x38000000) >> 13;
    // Adding one half aligns a subnormal's last bit with the float's: the sum rounds it.
    Word subnormal = (Vec<float>::from_bits(magnitude) + Vec<float>(0.5f)).bits() - 0x3f000000;
    Word finite = magnitude < 0x38800000 ? subnormal : normal;
    Word large = magnitude > 0x7f800000 ? Word{} + 0x7e00 : Word{} + 0x7c00;
    return (magnitude >= 0x47800000 ? large : finite) | sign;
}

template <class S>
RNN_HD Vec<float> load_full(const S* p) {
    if constexpr (std::is_same_v<S, float>) {
        return Vec<float>::load(p);
    } else {
        Half h;
        std::memcpy(&h, p, sizeof(h));
        return Vec<float>::from_bits(widen(S{}, __builtin_convertvector(h, Word)));
    }
}
RNN_HD Vec<double> load_full(const double* p) { return Vec<double>::load(p); }

template <class S>
RNN_HD void store_full(S* p, Vec<float> x) {
    if constexpr (std::is_same_v<S, float>) {
        x.store(p);
    } else {
#if defined(__AVX512BF16__) && RNN_VECTOR_BYTES == 64
        if constexpr (std::is_same_v<S, bf16>) {  // as `narrow`, but subnormals become zero
            const __m256bh rounded = _mm512_cvtneps_pbh(__m512(x.v));
            std::memcpy(p, &rounded, sizeof(rounded));
            return;
        }
#endif
        Half h = __builtin_convertvector(narrow(S{}, x.bits()), Half);
        std::memcpy(p, &h, sizeof(h));
    }
}
RNN_HD void store_full(double* p, Vec<double> x) { x.store(p); }

// The first n lanes; the others are zero and stay unread or unwritten.
template <class S>
RNN_HD Vec<compute_t<S>> load(const S* p, int n) {
    using V = Vec<compute_t<S>>;
    if (n == V::size) return load_full(p);
    S lanes[V::size] = {};
    for (int i = 0; i < n; i++) lanes[i] = p[i];
    return load_full(lanes);
}

template <class S>
RNN_HD void store(S* p, Vec<compute_t<S>> x, int n) {
    using V = Vec<compute_t<S>>;
    if (n == V::size) return store_full(p, x);
    S lanes[V::size];
    store_full(lanes, x);
    for (int i = 0; i < n; i++) p[i] = lanes[i];
}

template <class S>
RNN_HD Vec<compute_t<S>> round_to(Vec<compute_t<S>> x) {
    S lanes[Vec<compute_t<S>>::size];
    store_full(lanes, x);
    return load_full(lanes);
}

}  // namespace rnn::cpu::RNN_ISA
