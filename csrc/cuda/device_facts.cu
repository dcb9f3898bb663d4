#include "device_facts.h"
#include "launch.h"

namespace rnn::cuda {
namespace {

// Stands for all kernels of clusters. It is asked for with all the shared memory that a block may
// have, so that a multiprocessor has one block at a time. Registers leave room for one block of any
// of the others: as many of their clusters run at once. And an empty kernel compiles in no time.
__global__ void __launch_bounds__(recurrence_threads, 1) any_cluster() {}

// How many clusters of that many blocks the current device runs at once; 0 if it has none.
int resident(int blocks, int shared) {
    cudaLaunchAttribute attribute;
    attribute.id = cudaLaunchAttributeClusterDimension;
    attribute.val.clusterDim = {unsigned(blocks), 1, 1};
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(unsigned(blocks));
    config.blockDim = recurrence_threads;
    config.dynamicSmemBytes = size_t(shared);
    config.attrs = &attribute;
    config.numAttrs = 1;
    int clusters = 0;
    const bool known =
        cudaFuncSetAttribute(any_cluster, cudaFuncAttributeMaxDynamicSharedMemorySize, shared) ==
            cudaSuccess &&
        cudaFuncSetAttribute(any_cluster, cudaFuncAttributeNonPortableClusterSizeAllowed, 1) ==
            cudaSuccess &&
        cudaOccupancyMaxActiveClusters(&clusters, any_cluster, &config) == cudaSuccess;
    cudaGetLastError();  // a GPU without clusters, or with none so large, says so in an error
    return known ? clusters : 0;
}

}  // namespace

Facts facts_of(int device) {
    const OnDevice there(device);
    check(there.error, "cudaSetDevice");
    const auto ask = [&](cudaDeviceAttr attribute) {
        int value = 0;
        check(cudaDeviceGetAttribute(&value, attribute, device), "cudaDeviceGetAttribute");
        return value;
    };
    Facts facts = {
        10 * ask(cudaDevAttrComputeCapabilityMajor) + ask(cudaDevAttrComputeCapabilityMinor),
        ask(cudaDevAttrMaxSharedMemoryPerBlockOptin),
        {ask(cudaDevAttrMultiProcessorCount)},
        0};
    if (ask(cudaDevAttrCooperativeLaunch)) facts.grid = facts.clusters[0];
    if (facts.capability >= 90)
        for (int i = 1; i < 5; i++) facts.clusters[i] = resident(1 << i, facts.shared_memory);
    return facts;
}

}  // namespace rnn::cuda
