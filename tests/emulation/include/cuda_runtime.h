// The part of the CUDA runtime that csrc/cuda uses, for running its kernels on a CPU.
#pragma once

#include <cstddef>
#include <tuple>
#include <utility>

#include "atomics.h"
#include "builtins.h"
#include "vector_types.h"
#include "warp.h"

#define CUDART_VERSION 0

enum cudaError_t {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInvalidConfiguration = 9,
    cudaErrorInvalidDeviceFunction = 98,
    cudaErrorInvalidDevice = 101,
    cudaErrorNoKernelImageForDevice = 209,
    cudaErrorCooperativeLaunchTooLarge = 720
};
enum cudaMemcpyKind { cudaMemcpyDefault = 4 };
using cudaStream_t = struct CUstream_st*;

struct cudaDeviceProp {
    char name[256];
    int major, minor, multiProcessorCount, regsPerMultiprocessor, l2CacheSize;
    size_t sharedMemPerBlockOptin;
};

const char* cudaGetErrorString(cudaError_t error);
cudaError_t cudaGetLastError();
cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
enum cudaDeviceAttr {
    cudaDevAttrMultiProcessorCount = 16,
    cudaDevAttrComputeCapabilityMajor = 75,
    cudaDevAttrComputeCapabilityMinor = 76,
    cudaDevAttrCooperativeLaunch = 95,
    cudaDevAttrMaxSharedMemoryPerBlockOptin = 97
};
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);
cudaError_t cudaMalloc(void** p, size_t bytes);
cudaError_t cudaFree(void* p);
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind);
template <class T>
cudaError_t cudaMalloc(T** p, size_t bytes) {
    return cudaMalloc(reinterpret_cast<void**>(p), bytes);
}

struct cudaFuncAttributes {
    int maxDynamicSharedSizeBytes;
};
enum cudaFuncAttribute {
    cudaFuncAttributeMaxDynamicSharedMemorySize = 8,
    cudaFuncAttributeNonPortableClusterSizeAllowed = 10
};
namespace emulated {
cudaFuncAttributes attributes_of(const void* kernel);
cudaError_t set_attribute(const void* kernel, cudaFuncAttribute attribute, int value);
}  // namespace emulated
template <class F>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* found, F* kernel) {
    return *found = emulated::attributes_of(reinterpret_cast<const void*>(kernel)), cudaSuccess;
}
template <class F>
cudaError_t cudaFuncSetAttribute(F* kernel, cudaFuncAttribute attribute, int value) {
    return emulated::set_attribute(reinterpret_cast<const void*>(kernel), attribute, value);
}

enum cudaLaunchAttributeID {
    cudaLaunchAttributeCooperative = 2,
    cudaLaunchAttributeClusterDimension = 4
};
union cudaLaunchAttributeValue {
    struct {
        unsigned x, y, z;
    } clusterDim;
    int cooperative;
};
struct cudaLaunchAttribute {
    cudaLaunchAttributeID id;
    cudaLaunchAttributeValue val;
};
struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    size_t dynamicSmemBytes;
    cudaStream_t stream;
    cudaLaunchAttribute* attrs;
    unsigned numAttrs;
};

// As if nothing but the number of multiprocessors mattered.
namespace emulated {
cudaError_t resident_clusters(int* clusters, const cudaLaunchConfig_t& config);
}
template <class F>
cudaError_t cudaOccupancyMaxActiveClusters(int* clusters, F*, const cudaLaunchConfig_t* config) {
    return emulated::resident_clusters(clusters, *config);
}

namespace emulated {

// Checks the sizes and runs the kernel to its end.
cudaError_t launch(const cudaLaunchConfig_t& config, const void* kernel, const void* call,
                   size_t call_bytes, void (*enter)(const void* call));

template <class... Parameters>
struct Call {
    void (*kernel)(Parameters...);
    std::tuple<Parameters...> arguments;

    static void enter(const void* self) {
        const auto& call = *static_cast<const Call*>(self);
        std::apply(call.kernel, call.arguments);
    }
};

}  // namespace emulated

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
    using Call = emulated::Call<Parameters...>;
    const Call call = {kernel, {std::forward<Arguments>(arguments)...}};
    return emulated::launch(*config, reinterpret_cast<const void*>(kernel), &call, sizeof(call),
                            Call::enter);
}
