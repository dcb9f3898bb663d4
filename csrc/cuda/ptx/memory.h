// Loads and stores with a width or an order of their own.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace rnn::cuda::ptx {

// 16 bytes of global memory in one access; the address is a multiple of 16.
__device__ inline uint4 load16(const void* p) { return *static_cast<const uint4*>(p); }

// An assignment came out as four stores of 4 bytes where its value depended on a branch.
__device__ inline void store16(void* p, uint4 bits) { __stwb(static_cast<uint4*>(p), bits); }

// Flags that blocks of a grid give each other. What was written before a release, by this thread or
// by those it has met at a barrier, is seen after the acquire that finds it.
__device__ inline uint32_t load_acquire(const uint32_t* p) {
    uint32_t value;
    asm volatile("ld.acquire.gpu.u32 %0, [%1];" : "=r"(value) : "l"(p) : "memory");
    return value;
}
__device__ inline void store_release(uint32_t* p, uint32_t value) {
    asm volatile("st.release.gpu.u32 [%0], %1;" ::"l"(p), "r"(value) : "memory");
}
__device__ inline void add_release(uint32_t* p, uint32_t value) {
    asm volatile("red.release.gpu.add.u32 [%0], %1;" ::"l"(p), "r"(value) : "memory");
}

// In one piece, but ordered with nothing.
__device__ inline uint64_t load_relaxed(const uint64_t* p) {
    uint64_t value;
    asm volatile("ld.relaxed.gpu.u64 %0, [%1];" : "=l"(value) : "l"(p) : "memory");
    return value;
}
__device__ inline void store_relaxed(uint64_t* p, uint64_t value) {
    asm volatile("st.relaxed.gpu.u64 [%0], %1;" ::"l"(p), "l"(value) : "memory");
}

// Four words of global memory, each of which is in one piece.
__device__ inline uint4 load_relaxed(const uint4* p) {
    uint4 v;
    asm volatile("ld.relaxed.gpu.global.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(__cvta_generic_to_global(p))
                 : "memory");
    return v;
}
__device__ inline void store_relaxed(uint4* p, uint4 v) {
    asm volatile(
        "st.relaxed.gpu.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(p)),
        "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w)
        : "memory");
}

}  // namespace rnn::cuda::ptx
