// What CUDA C++ has and C++ has not: qualifiers, where a thread is, barriers, single functions.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "../machine/fault.h"
#include "../machine/launch.h"
#include "../machine/scheduler.h"
#include "../machine/sharing.h"
#include "dim3.h"

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline
#define __noinline__
#define __align__(bytes) alignas(bytes)
#define __grid_constant__
#define __launch_bounds__(...)
#define __shared__ thread_local

extern dim3 threadIdx, blockIdx, blockDim, gridDim;
constexpr int warpSize = 32;

inline void __syncthreads() { emulated::sync_all(); }
inline void __syncwarp(unsigned mask = 0xffffffff) { emulated::sync_warp(mask); }
inline void __threadfence_block() { emulated::fence(); }
inline void __threadfence() { emulated::fence(); }
inline void __nanosleep(unsigned nanoseconds) {
    emulated::pass(nanoseconds);
    emulated::yield();
}
inline long long clock64() { return (long long)(emulated::read_clock()); }
[[noreturn]] inline void __trap() { emulated::fault("__trap"); }

using std::max;
using std::min;

template <class T>
T __ldg(const T* p) {
    return *p;
}
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }
inline unsigned __float_as_uint(float x) {
    unsigned bits;
    std::memcpy(&bits, &x, sizeof(bits));
    return bits;
}
inline float __uint_as_float(unsigned bits) {
    float x;
    std::memcpy(&x, &bits, sizeof(x));
    return x;
}
