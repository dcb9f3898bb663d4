#include "../cells/lstm.h"
#include "recurrence_launch.cuh"

namespace rnn::cuda {

template void launch_recurrence<Lstm, Team::cluster>(const RecurrenceForward&, Dtype, const Place&);
template void launch_recurrence<Lstm, Team::cluster>(const RecurrenceBackward&, Dtype,
                                                     const Place&);

// How many clusters of that many blocks the current device runs at once; 0 if it has none.
static int resident(int blocks, int shared) {
    // Registers and shared memory leave a multiprocessor to one block of any of these kernels.
    const auto kernel = recurrence_forward<Lstm, Rounded<__nv_bfloat16>, true, few_elements>;
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
    const bool known = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                            shared) == cudaSuccess &&
                       cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed,
                                            1) == cudaSuccess &&
                       cudaOccupancyMaxActiveClusters(&clusters, kernel, &config) == cudaSuccess;
    cudaGetLastError();  // a GPU without clusters, or with none so large, says so in an error
    return known ? clusters : 0;
}

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
