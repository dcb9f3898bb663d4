#include <cmath>
#include <stdexcept>

#include "../with_cell.h"
#include "device.h"
#include "launch.h"

namespace rnn::cuda {
namespace {

// One step of one unit of a cell, from gates that are all x.
template <Cell C>
__global__ void one_unit(float x, float* h) {
    float gx[C::gates], gh[C::gates], saved[C::saved], c = x;
    for (int g = 0; g < C::gates; g++) gx[g] = gh[g] = x;
    *h = C::forward(gx, gh, x, c, saved);
}

template <Cell C>
bool agrees_with_host(int device) {
    const float x = 0.25f;
    float *on_device, got = NAN;
    if (cudaMalloc(&on_device, sizeof(float)) != cudaSuccess) return false;
    bool ran = true;
    try {
        launch({device, nullptr}, {1, 1}, [] { return "one_unit"; }, one_unit<C>, x, on_device);
        check(cudaMemcpy(&got, on_device, sizeof(float), cudaMemcpyDefault), "cudaMemcpy");
    } catch (const std::runtime_error&) {  // no code for this GPU, most likely
        ran = false;
    }
    cudaFree(on_device);

    float gx[C::gates], gh[C::gates], saved[C::saved], c = x;
    for (int g = 0; g < C::gates; g++) gx[g] = gh[g] = x;
    return ran && std::abs(got - C::forward(gx, gh, x, c, saved)) < 1e-6f;
}

template <Cell... C>
bool all_agree_with_host(int device, Cells<C...>) {
    return (agrees_with_host<C>(device) && ...);
}

// The kernel that is asked whether there is code for a device: all are compiled for the same.
template <Cell First, Cell... Rest>
constexpr auto any_kernel(Cells<First, Rest...>) {
    return one_unit<First>;
}

Device describe(int index) {
    cudaDeviceProp p;
    check(cudaGetDeviceProperties(&p, index), "cudaGetDeviceProperties");
    const OnDevice there(index);
    check(there.error, "cudaSetDevice");
    return {p.name,
            10 * p.major + p.minor,
            p.multiProcessorCount,
            p.regsPerMultiprocessor,
            int(p.sharedMemPerBlockOptin),
            p.l2CacheSize,
            all_agree_with_host(index, AllCells())};
}

}  // namespace

std::vector<Device> devices() {
    int count = 0;
    check(cudaGetDeviceCount(&count), "cudaGetDeviceCount");
    std::vector<Device> all;
    for (int i = 0; i < count; i++) all.push_back(describe(i));
    return all;
}

bool has_code_for(int device) {
    const OnDevice there(device);
    check(there.error, "cudaSetDevice");
    cudaFuncAttributes found;
    const cudaError_t error = cudaFuncGetAttributes(&found, any_kernel(AllCells()));
    cudaGetLastError();  // or the next call, anyone's, would report it
    if (error == cudaErrorNoKernelImageForDevice || error == cudaErrorInvalidDeviceFunction)
        return false;
    check(error, "cudaFuncGetAttributes");
    return true;
}

int runtime_version() { return CUDART_VERSION; }

int driver_version() {
    int version = 0;
    check(cudaDriverGetVersion(&version), "cudaDriverGetVersion");
    return version;
}

}  // namespace rnn::cuda
