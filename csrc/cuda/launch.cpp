#include "launch.h"

#include <stdexcept>

namespace rnn::cuda {

void check(cudaError_t error, const std::string& what) {
    if (error != cudaSuccess) throw std::runtime_error(what + ": " + cudaGetErrorString(error));
}

OnDevice::OnDevice(int device) {
    error = cudaGetDevice(&before_);
    if (error != cudaSuccess || device == before_) return;
    error = cudaSetDevice(device);
    moved_ = error == cudaSuccess;
}

OnDevice::~OnDevice() {
    if (moved_) cudaSetDevice(before_);
}

Launch::Launch(const Place& place, const Shape& shape, const void* kernel)
    : there_(place.device), error(there_.error) {
    constexpr unsigned cluster_without_asking = 8;
    config.gridDim = shape.grid;
    config.blockDim = shape.block;
    config.dynamicSmemBytes = shape.shared;
    config.stream = place.stream;
    config.attrs = attributes_;
    const auto ask = [&](cudaFuncAttribute attribute, int value) {
        if (error == cudaSuccess) error = cudaFuncSetAttribute(kernel, attribute, value);
    };
    const unsigned cluster = shape.cluster.x * shape.cluster.y * shape.cluster.z;
    if (cluster > 1) {
        cudaLaunchAttribute& a = attributes_[config.numAttrs++];
        a.id = cudaLaunchAttributeClusterDimension;
        a.val.clusterDim = {shape.cluster.x, shape.cluster.y, shape.cluster.z};
    }
    if (shape.cooperative) {
        cudaLaunchAttribute& a = attributes_[config.numAttrs++];
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
}

void Launch::failed(const std::string& what) const {
    cudaGetLastError();  // or the next call, anyone's, would report it once more
    throw std::runtime_error(what + ": " + cudaGetErrorString(error));
}

}  // namespace rnn::cuda
