// Twin of csrc/cuda/ptx/barrier.h.
#pragma once

#include <cuda_runtime.h>

namespace rnn::cuda::ptx {

inline void barrier_sync(uint32_t barrier, uint32_t threads) {
    emulated::sync_part(barrier, threads, true);
}
inline void barrier_arrive(uint32_t barrier, uint32_t threads) {
    emulated::sync_part(barrier, threads, false);
}
inline void sync_grid() { emulated::sync_grid(); }

}  // namespace rnn::cuda::ptx
