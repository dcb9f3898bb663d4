// sigmoid and tanh of a vector, within 4 ulp, right at 0, ±inf and NaN.
//
// Both start from 2^n · (1 + p) = e^x with n = round(x / ln 2) and p = expm1(r) on |r| ≤ ln 2 / 2.
// The polynomials are least-squares fits at Chebyshev nodes, reweighted towards the minimax one;
// largest relative error of p: 1.3e-8 (float), 1.8e-17 (double).
#pragma once

#include "vector.h"

namespace rnn::cpu::RNN_ISA {

template <class T>
struct Exp;

template <>
struct Exp<float> {
    static constexpr float ln2_hi = 0.693359375f, ln2_lo = -2.12194440e-4f;
    static constexpr float round = 12582912.0f;  // 1.5 · 2^23: adding it leaves n in the low bits
    static constexpr int mantissa = 23;
    static constexpr uint32_t bias = 127;
    static constexpr float lowest = -87.0f, overflow = 89.0f;  // e^-87 is normal, e^89 infinite
    static constexpr float tanh_is_one = 20.0f;                // of 2x
    static constexpr float q[] = {1.394653612e-3f, 8.366643198e-3f, 4.166628087e-2f,
                                  1.666654255e-1f, 5.000000062e-1f};
};

template <>
struct Exp<double> {
    static constexpr double ln2_hi = 0.693145751953125, ln2_lo = 1.42860682030941723212e-6;
    static constexpr double round = 6755399441055744.0;  // 1.5 · 2^52
    static constexpr int mantissa = 52;
    static constexpr uint64_t bias = 1023;
    static constexpr double lowest = -708.0, overflow = 710.0;
    static constexpr double tanh_is_one = 44.0;
    static constexpr double q[] = {2.51133872238540434e-8, 2.76264783033753932e-7,
                                   2.75572313856497063e-6, 2.48015040636982188e-5,
                                   1.98412698991979424e-4, 1.3888888932702356e-3,
                                   8.3333333333163492e-3,  4.16666666665725816e-2,
                                   1.66666666666666833e-1, 5.00000000000000565e-1};
};

// e^x = (1 + p) · 2^n; returns p and sets `scale` to 2^(n - shift).
template <class T>
RNN_HD Vec<T> expm1_reduced(Vec<T> x, int shift, Vec<T>& scale) {
    using E = Exp<T>;
    using V = Vec<T>;
    V t = x * V(T(1.4426950408889634)) + V(E::round);
    V n = t - V(E::round);
    scale = V::from_bits((t.bits() << E::mantissa) +
                         ((E::bias - typename V::Int(shift)) << E::mantissa));
    V r = x - n * V(E::ln2_hi);
    r = r - n * V(E::ln2_lo);
    V q(E::q[0]);
    for (unsigned k = 1; k < sizeof(E::q) / sizeof(T); k++) q = q * r + V(E::q[k]);
    return r + r * r * q;
}

template <class T>
RNN_HD Vec<T> sigmoid(Vec<T> x) {
    using V = Vec<T>;
    V scale, p = expm1_reduced(clamp(V(T(0)) - x, Exp<T>::lowest, Exp<T>::overflow), 1, scale);
    // Scaled in two steps because 2^n itself is infinite at the upper end, where e^x must be too.
    V e = (scale + scale * p) * V(T(2));
    return V(T(1)) / (V(T(1)) + e);
}

template <class T>
RNN_HD Vec<T> tanh(Vec<T> x) {
    using V = Vec<T>;
    constexpr T one = Exp<T>::tanh_is_one;
    V scale, p = expm1_reduced(clamp(x + x, -one, one), 0, scale);
    V em1 = scale * p + (scale - V(T(1)));
    return em1 / (em1 + V(T(2)));
}

}  // namespace rnn::cpu::RNN_ISA
