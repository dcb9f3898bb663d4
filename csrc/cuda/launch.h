// Launching a kernel: on a given device and stream, with every return code checked.
#pragma once

#include <cuda_runtime.h>

#include <string>
#include <utility>

namespace rnn::cuda {

// Throws std::runtime_error with CUDA's words if there is an error.
void check(cudaError_t error, const std::string& what);

// Makes a device the current one for the life of this object, if `error` is none.
class OnDevice {
public:
    explicit OnDevice(int device);
    OnDevice(const OnDevice&) = delete;
    ~OnDevice();

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

// How many blocks of how many threads, and what they share.
struct Shape {
    dim3 grid, block;
    size_t shared = 0;  // bytes, see ptx/shared.h
    dim3 cluster = 1;   // blocks; more than one needs sm_90
    bool cooperative = false;
};

// A launch of a kernel that is about to happen, if `error` is none; on its device while it lives.
class Launch {
    OnDevice there_;

public:
    Launch(const Place& place, const Shape& shape, const void* kernel);
    Launch(const Launch&) = delete;

    // Throws what CUDA says of the kernel called `what`.
    [[noreturn]] void failed(const std::string& what) const;

    cudaError_t error;
    cudaLaunchConfig_t config = {};

private:
    cudaLaunchAttribute attributes_[2];
};

// `describe()` names the kernel and its sizes; it is called only if the launch failed.
template <class Describe, class... Parameters, class... Arguments>
void launch(const Place& place, const Shape& shape, const Describe& describe,
            void (*kernel)(Parameters...), Arguments&&... arguments) {
    Launch launch(place, shape, reinterpret_cast<const void*>(kernel));
    if (launch.error == cudaSuccess)
        launch.error =
            cudaLaunchKernelEx(&launch.config, kernel, std::forward<Arguments>(arguments)...);
    if (launch.error != cudaSuccess) launch.failed(describe());
}

}  // namespace rnn::cuda
