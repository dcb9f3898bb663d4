// The host's side of the CUDA runtime: one device, an H100 in its limits.
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

#include "../include/cuda_runtime.h"
#include "launch.h"
#include "regions.h"

namespace emulated {
namespace {

constexpr size_t shared_without_asking = 48 << 10, shared_at_most = 227 << 10;
constexpr unsigned multiprocessors = 132, cluster_without_asking = 8, cluster_at_most = 16;

struct Attributes {
    int shared_bytes = int(shared_without_asking);
    int large_clusters = 0;
};
std::map<const void*, Attributes> attributes;

bool divides(dim3 cluster, dim3 grid) {
    return cluster.x && cluster.y && cluster.z && grid.x % cluster.x == 0 &&
           grid.y % cluster.y == 0 && grid.z % cluster.z == 0;
}

cudaError_t check(const Launch& l) {
    const dim3 g = l.grid, b = l.block;
    const bool fits = g.x - 1 < 0x7fffffff && g.y - 1 < 65535 && g.z - 1 < 65535 &&
                      b.x - 1 < 1024 && b.y - 1 < 1024 && b.z - 1 < 64 && b.x * b.y * b.z <= 1024;
    if (!fits) return cudaErrorInvalidConfiguration;
    const Attributes& allowed = attributes[l.kernel];
    if (l.shared_bytes > size_t(allowed.shared_bytes)) return cudaErrorInvalidValue;
    const unsigned cluster = l.cluster.x * l.cluster.y * l.cluster.z;
    if (cluster > (allowed.large_clusters ? cluster_at_most : cluster_without_asking) ||
        !divides(l.cluster, g))
        return cudaErrorInvalidConfiguration;
    // At least one block fits on each multiprocessor; how many more depends on registers.
    if (l.cooperative && g.x * g.y * g.z > multiprocessors)
        return cudaErrorCooperativeLaunchTooLarge;
    return cudaSuccess;
}

}  // namespace

cudaFuncAttributes attributes_of(const void* kernel) { return {attributes[kernel].shared_bytes}; }

cudaError_t set_attribute(const void* kernel, cudaFuncAttribute attribute, int value) {
    switch (attribute) {
        case cudaFuncAttributeMaxDynamicSharedMemorySize:
            if (value < 0 || size_t(value) > shared_at_most) return cudaErrorInvalidValue;
            return attributes[kernel].shared_bytes = value, cudaSuccess;
        case cudaFuncAttributeNonPortableClusterSizeAllowed:
            return attributes[kernel].large_clusters = value, cudaSuccess;
    }
    return cudaErrorInvalidValue;
}

cudaError_t resident_clusters(int* clusters, const cudaLaunchConfig_t& config) {
    unsigned blocks = 1;
    for (unsigned i = 0; i < config.numAttrs; i++) {
        const cudaLaunchAttribute& a = config.attrs[i];
        if (a.id == cudaLaunchAttributeClusterDimension)
            blocks = a.val.clusterDim.x * a.val.clusterDim.y * a.val.clusterDim.z;
    }
    return *clusters = int(multiprocessors / blocks), cudaSuccess;
}

cudaError_t launch(const cudaLaunchConfig_t& config, const void* kernel, const void* call,
                   size_t call_bytes, void (*enter)(const void* call)) {
    Launch l = {config.gridDim, config.blockDim, 1,    config.dynamicSmemBytes, false, kernel,
                call,           call_bytes,      enter};
    for (unsigned i = 0; i < config.numAttrs; i++) {
        const cudaLaunchAttribute& a = config.attrs[i];
        if (a.id == cudaLaunchAttributeCooperative) l.cooperative = a.val.cooperative != 0;
        if (a.id == cudaLaunchAttributeClusterDimension)
            l.cluster = {a.val.clusterDim.x, a.val.clusterDim.y, a.val.clusterDim.z};
    }
    static std::mutex one_at_a_time;
    const std::lock_guard<std::mutex> lock(one_at_a_time);
    const cudaError_t error = check(l);
    if (error == cudaSuccess) run(l);
    return error;
}

}  // namespace emulated

const char* cudaGetErrorString(cudaError_t error) {
    switch (error) {
        case cudaSuccess: return "no error";
        case cudaErrorInvalidValue: return "invalid argument";
        case cudaErrorMemoryAllocation: return "out of memory";
        case cudaErrorInvalidConfiguration: return "invalid configuration argument";
        case cudaErrorInvalidDeviceFunction: return "invalid device function";
        case cudaErrorInvalidDevice: return "invalid device ordinal";
        case cudaErrorNoKernelImageForDevice: return "no kernel image is available";
        case cudaErrorCooperativeLaunchTooLarge: return "too many blocks in cooperative launch";
    }
    return "unrecognized error code";
}
cudaError_t cudaGetLastError() { return cudaSuccess; }
cudaError_t cudaDriverGetVersion(int* version) { return *version = 0, cudaSuccess; }
cudaError_t cudaGetDeviceCount(int* count) { return *count = 1, cudaSuccess; }
cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : cudaErrorInvalidDevice; }
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int) {
    *p = {"emulated on the CPU",   9, 0, int(emulated::multiprocessors), 65536, 0,
          emulated::shared_at_most};
    return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
    switch (attribute) {
        case cudaDevAttrMultiProcessorCount:
            return *value = int(emulated::multiprocessors), cudaSuccess;
        case cudaDevAttrCooperativeLaunch: return *value = 1, cudaSuccess;
        case cudaDevAttrComputeCapabilityMajor: return *value = 9, cudaSuccess;
        case cudaDevAttrComputeCapabilityMinor: return *value = 0, cudaSuccess;
        case cudaDevAttrMaxSharedMemoryPerBlockOptin:
            return *value = int(emulated::shared_at_most), cudaSuccess;
    }
    return cudaErrorInvalidValue;
}
cudaError_t cudaMalloc(void** p, size_t bytes) {
    *p = std::malloc(bytes);
    if (!*p) return cudaErrorMemoryAllocation;
    emulated::add_buffer(*p, bytes, "memory of cudaMalloc");
    return cudaSuccess;
}
cudaError_t cudaFree(void* p) {
    emulated::remove_buffer(p);
    std::free(p);
    return cudaSuccess;
}
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) {
    std::memcpy(to, from, bytes);
    return cudaSuccess;
}
