// Twin of csrc/cuda/ptx/time.h.
#pragma once

#include <cuda_runtime.h>

#include "../../machine/scheduler.h"

namespace rnn::cuda::ptx {

inline uint64_t nanoseconds() { return emulated::read_clock(); }

}  // namespace rnn::cuda::ptx
