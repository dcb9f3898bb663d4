// Launching a kernel: on a given device and stream, with every return code checked.
#pragma once

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

namespace rnn::cuda {

inline void check(cudaError_t error, const std::string& what) {
    if (error != cudaSuccess) throw std::runtime_error(what + ": " + cudaGetErrorString(error));
}

// Makes a device the current one for the life of this object, if `error` is none.
class OnDevice {
public:
    explicit OnDevice(int device) : error(cudaGetDevice(&before_)) {
        if (error != cudaSuccess || device == before_) return;
        error = cudaSetDevice(device);
        moved_ = error == cudaSuccess;
    }
    OnDevice(const OnDevice&) = delete;
    ~OnDevice() {
        if (moved_) cudaSetDevice(before_);
    }

    cudaError_t error;

private:
    int before_ = 0;
    bool moved_ = false;
};

// Where a kernel runs: a device and one of its streams.
struct Place {
    int device;
    cudaStream_t stream;
};

// `describe()` names the kernel and its sizes; it is called only if the launch failed.
template <class Describe, class... Parameters, class... Arguments>
void launch(const Place& place, dim3 grid, dim3 block, const Describe& describe,
            void (*kernel)(Parameters...), Arguments&&... arguments) {
    const OnDevice there(place.device);
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = block;
    config.stream = place.stream;
    cudaError_t error = there.error;
    if (error == cudaSuccess)
        error = cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...);
    if (error != cudaSuccess) {
        cudaGetLastError();  // or the next call, anyone's, would report it once more
        check(error, describe());
    }
}

}  // namespace rnn::cuda
