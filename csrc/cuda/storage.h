// The four storage types, and 16-byte access to them. Values are computed in float, or in double
// if they are stored in double; rounding is to nearest even.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <ptx/memory.h>

#include <cstdint>
#include <cstring>
#include <stdexcept>

#include "../cell.h"
#include "../dtype.h"

namespace rnn::cuda {

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

// Calls f.template operator()<S>() with the type that `dtype` names.
template <class F>
void with_storage(Dtype dtype, const F& f) {
    switch (dtype) {
        case Dtype::fp32: return f.template operator()<float>();
        case Dtype::fp64: return f.template operator()<double>();
        case Dtype::bf16: return f.template operator()<__nv_bfloat16>();
        case Dtype::fp16: return f.template operator()<__half>();
    }
    throw std::invalid_argument("unknown dtype");
}

__device__ inline float widen(float x) { return x; }
__device__ inline double widen(double x) { return x; }
__device__ inline float widen(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ inline float widen(__half x) { return __half2float(x); }

__device__ inline void narrow(float x, float& to) { to = x; }
__device__ inline void narrow(double x, double& to) { to = x; }
__device__ inline void narrow(float x, __nv_bfloat16& to) { to = __float2bfloat16_rn(x); }
__device__ inline void narrow(float x, __half& to) { to = __float2half_rn(x); }

// Elements of S that one 16-byte access moves.
template <class S>
constexpr int full_width = 16 / int(sizeof(S));

// W neighbouring values, in the type computed in.
template <class A, int W>
struct Lanes {
    A value[W];
    __device__ A& operator[](int i) { return value[i]; }
    __device__ const A& operator[](int i) const { return value[i]; }
};

// W elements at p, which are aligned to 16 bytes or to their own size, whichever is less.
template <int W, class S>
__device__ inline Lanes<compute_t<S>, W> load(const S* p) {
    Lanes<compute_t<S>, W> lanes;
    if constexpr (W == 1) {
        lanes[0] = widen(*p);
    } else {
        constexpr int width = full_width<S>;
        static_assert(W % width == 0);
#pragma unroll
        for (int k = 0; k < W / width; k++) {
            const uint4 bits = ptx::load16(p + k * width);
            S part[width];
            memcpy(part, &bits, sizeof(bits));
#pragma unroll
            for (int i = 0; i < width; i++) lanes[k * width + i] = widen(part[i]);
        }
    }
    return lanes;
}

template <int W, class S>
__device__ inline void store(S* p, const Lanes<compute_t<S>, W>& lanes) {
    if constexpr (W == 1) {
        narrow(lanes[0], *p);
    } else {
        constexpr int width = full_width<S>;
#pragma unroll
        for (int k = 0; k < W / width; k++) {
            S part[width];
#pragma unroll
            for (int i = 0; i < width; i++) narrow(lanes[k * width + i], part[i]);
            uint4 bits;
            memcpy(&bits, part, sizeof(bits));
            ptx::store16(p + k * width, bits);
        }
    }
}

}  // namespace rnn::cuda
