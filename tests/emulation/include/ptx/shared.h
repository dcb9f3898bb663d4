// Twin of csrc/cuda/ptx/shared.h.
#pragma once

#include <cuda_runtime.h>

#include "../../machine/launch.h"

namespace rnn::cuda::ptx {

template <class T>
T* dynamic_shared() {
    return static_cast<T*>(emulated::dynamic_shared());
}

}  // namespace rnn::cuda::ptx
