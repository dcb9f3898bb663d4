// What the hardware does, as plain functions.
#pragma once

#include <cuda_runtime.h>

namespace rnn::cuda {

// 16 bytes of global memory in one access; the address is a multiple of 16.
__device__ inline uint4 load16(const void* p) { return *static_cast<const uint4*>(p); }

// An assignment came out as four stores of 4 bytes where its value depended on a branch.
__device__ inline void store16(void* p, uint4 bits) { __stwb(static_cast<uint4*>(p), bits); }

}  // namespace rnn::cuda
