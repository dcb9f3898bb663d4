// The clock that all multiprocessors share.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace rnn::cuda::ptx {

// Its steps are about a microsecond.
__device__ inline uint64_t nanoseconds() {
    uint64_t time;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(time));
    return time;
}

}  // namespace rnn::cuda::ptx
