// Shared memory whose size is given at launch.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace rnn::cuda::ptx {

// Aligned to 16 bytes.
template <class T>
__device__ T* dynamic_shared() {
    extern __shared__ uint4 rnn_dynamic_shared[];
    return reinterpret_cast<T*>(rnn_dynamic_shared);
}

// As instructions on shared memory want it.
__device__ inline uint32_t shared_address(const void* shared) {
    return uint32_t(__cvta_generic_to_shared(shared));
}

}  // namespace rnn::cuda::ptx
