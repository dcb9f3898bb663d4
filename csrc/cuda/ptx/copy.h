// Copies from global to shared memory that run beside their thread. They are seen by it once it has
// waited for them, and by others after a barrier behind that.
#pragma once

#include "shared.h"

namespace rnn::cuda::ptx {

// Of 4, 8 or 16 bytes, both addresses multiples of that. The first `read` bytes are copied, the
// rest become zero.
template <int bytes>
__device__ void copy_async(void* shared, const void* global, int read = bytes) {
    static_assert(bytes == 4 || bytes == 8 || bytes == 16);
    if constexpr (bytes == 16)  // not through L1
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)),
                     "l"(global), "r"(read)
                     : "memory");
    else
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(shared_address(shared)),
                     "l"(global), "n"(bytes), "r"(read)
                     : "memory");
}

// Those of this thread since the last call are a group.
__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Until at most N of this thread's groups are under way.
template <int N>
__device__ void wait_for_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

}  // namespace rnn::cuda::ptx
