// Barriers of a part of a block, and of the whole grid.
#pragma once

#include <cooperative_groups.h>
#include <cuda_runtime.h>

namespace rnn::cuda::ptx {

// Barrier 1 to 15 of this block; `threads`, a multiple of 32, is how many come in all, be it to
// wait or only to arrive. (0 is that of __syncthreads.)
__device__ inline void barrier_sync(uint32_t barrier, uint32_t threads) {
    asm volatile("barrier.cta.sync %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}
__device__ inline void barrier_arrive(uint32_t barrier, uint32_t threads) {
    asm volatile("barrier.cta.arrive %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}

// All threads of a cooperative launch.
__device__ inline void sync_grid() { cooperative_groups::this_grid().sync(); }

}  // namespace rnn::cuda::ptx
