// A float whose sigmoid and tanh take the special function unit two instructions each: what cells
// are given where h is rounded to 16 bits or multiplied in TF32. The library's functions and a
// division that rounds correctly take 30 instructions, more than the rest of a step.
#pragma once

#include <cmath>

#include "../../cell.h"

namespace rnn::cuda {

struct Approximate {
    float value;

    Approximate() = default;
    RNN_HD Approximate(float x) : value(x) {}
};

RNN_HD Approximate operator+(Approximate a, Approximate b) { return a.value + b.value; }
RNN_HD Approximate operator-(Approximate a, Approximate b) { return a.value - b.value; }
RNN_HD Approximate operator*(Approximate a, Approximate b) { return a.value * b.value; }

// Within 2 ulp; denormals become zero.
RNN_HD float fast_exp2(float x) {
#if defined(__CUDA_ARCH__)
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#else
    return exp2f(x);
#endif
}
RNN_HD float fast_reciprocal(float x) {
#if defined(__CUDA_ARCH__)
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#else
    return 1.0f / x;
#endif
}

// Within 4 ulp of 1, exact at saturation; NaN stays NaN.
RNN_HD Approximate sigmoid(Approximate x) {
    return fast_reciprocal(1.0f + fast_exp2(x.value * -1.44269504f));
}
// The same, and within 8 ulp of itself: near zero, where 1 - 2 / (1 + e^2x) cancels, by its series.
RNN_HD Approximate tanh(Approximate x) {
    const float far = 1.0f - 2.0f * fast_reciprocal(1.0f + fast_exp2(x.value * 2.88539008f));
    const float s = x.value * x.value;
    const float series =
        ((2.18694885e-2f * s - 5.39682540e-2f) * s + 1.33333333e-1f) * s - 1.0f / 3;
    return s < 0.0625f ? x.value + x.value * s * series : far;
}

}  // namespace rnn::cuda
