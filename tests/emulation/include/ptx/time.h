// Twin of csrc/cuda/ptx/time.h.
#pragma once

#include <cuda_runtime.h>

#include "../../machine/scheduler.h"

namespace rnn::cuda::ptx {

inline uint64_t nanoseconds() {
    emulated::yield();
    return emulated::now();
}

}  // namespace rnn::cuda::ptx
