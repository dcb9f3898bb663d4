// The clock that all multiprocessors share.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace rnn::cuda::ptx {

// Its steps are about a microsecond.
__device__ inline int64_t nanoseconds() {
    int64_t time;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(time));
    return time;
}

}  // namespace rnn::cuda::ptx
