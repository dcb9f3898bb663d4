#include "../cells/lstm.h"
#include "recurrence_launch.cuh"

namespace rnn::cuda {

template void launch_recurrence<Lstm, true>(const RecurrenceForward&, Dtype, const Place&);
template void launch_recurrence<Lstm, true>(const RecurrenceBackward&, Dtype, const Place&);

int resident_clusters(int device, int blocks) {
    // Registers and shared memory leave a multiprocessor to one block of any of these kernels.
    int multiprocessors = 0;
    if (blocks == 1) {
        check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device),
              "cudaDeviceGetAttribute");
        return multiprocessors;
    }
    const auto kernel = recurrence_forward<Lstm, __nv_bfloat16, true, few_elements>;
    const OnDevice there(device);
    int clusters = 0, shared = 0;
    cudaLaunchAttribute attribute;
    attribute.id = cudaLaunchAttributeClusterDimension;
    attribute.val.clusterDim = {unsigned(blocks), 1, 1};
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(unsigned(blocks));
    config.blockDim = recurrence_threads;
    config.attrs = &attribute;
    config.numAttrs = 1;
    cudaError_t error = there.error;
    const auto next = [&](cudaError_t result) {
        if (error == cudaSuccess) error = result;
    };
    next(cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
    config.dynamicSmemBytes = size_t(shared);
    next(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared));
    next(cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1));
    next(cudaOccupancyMaxActiveClusters(&clusters, kernel, &config));
    cudaGetLastError();  // a GPU without clusters, or without code for it
    return error == cudaSuccess ? clusters : 0;
}

}  // namespace rnn::cuda
