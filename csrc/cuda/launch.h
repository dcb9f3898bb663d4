// Launching a kernel: on a given device and stream, with every return code checked.
#pragma once

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>
#include <utility>

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

// How many blocks of how many threads, and what they share.
struct Shape {
    dim3 grid, block;
    size_t shared = 0;  // bytes, see ptx/shared.h
    dim3 cluster = 1;   // blocks; more than one needs sm_90
    bool cooperative = false;
};

// `describe()` names the kernel and its sizes; it is called only if the launch failed.
template <class Describe, class... Parameters, class... Arguments>
void launch(const Place& place, const Shape& shape, const Describe& describe,
            void (*kernel)(Parameters...), Arguments&&... arguments) {
    constexpr unsigned cluster_without_asking = 8;
    const OnDevice there(place.device);
    cudaLaunchConfig_t config = {};
    cudaLaunchAttribute attributes[2];
    config.gridDim = shape.grid;
    config.blockDim = shape.block;
    config.dynamicSmemBytes = shape.shared;
    config.stream = place.stream;
    config.attrs = attributes;
    cudaError_t error = there.error;
    const auto ask = [&](cudaFuncAttribute attribute, int value) {
        if (error == cudaSuccess) error = cudaFuncSetAttribute(kernel, attribute, value);
    };
    const unsigned cluster = shape.cluster.x * shape.cluster.y * shape.cluster.z;
    if (cluster > 1) {
        cudaLaunchAttribute& a = attributes[config.numAttrs++];
        a.id = cudaLaunchAttributeClusterDimension;
        a.val.clusterDim = {shape.cluster.x, shape.cluster.y, shape.cluster.z};
    }
    if (shape.cooperative) {
        cudaLaunchAttribute& a = attributes[config.numAttrs++];
        a.id = cudaLaunchAttributeCooperative;
        a.val.cooperative = 1;
    }
    // More than 48 KiB have to be asked for, the static part included. It is the kernel's, not the
    // launch's, so never less than before: a graph may keep a launch that needs all of it.
    if (error == cudaSuccess && shape.shared > 0) {
        cudaFuncAttributes now;
        error = cudaFuncGetAttributes(&now, kernel);
        if (error == cudaSuccess && shape.shared > size_t(now.maxDynamicSharedSizeBytes))
            ask(cudaFuncAttributeMaxDynamicSharedMemorySize, int(shape.shared));
    }
    if (cluster > cluster_without_asking) ask(cudaFuncAttributeNonPortableClusterSizeAllowed, 1);
    if (error == cudaSuccess)
        error = cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...);
    if (error != cudaSuccess) {
        cudaGetLastError();  // or the next call, anyone's, would report it once more
        check(error, describe());
    }
}

}  // namespace rnn::cuda
