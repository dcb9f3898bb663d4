#include <cmath>
#include <stdexcept>

#include "../cells/gru.h"
#include "../cells/lstm.h"
#include "device.h"

namespace rnn::cuda {
namespace {

void check(cudaError_t error, const char* what) {
    if (error != cudaSuccess)
        throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(error));
}

// One step of one unit of a cell, from gates that are all x.
template <Cell C>
__global__ void one_unit(float x, float* h) {
    float gx[C::gates], gh[C::gates], saved[C::saved], c = x;
    for (int g = 0; g < C::gates; g++) gx[g] = gh[g] = x;
    *h = C::forward(gx, gh, x, c, saved);
}

template <Cell C>
bool agrees_with_host() {
    const float x = 0.25f;
    float *on_device, got = NAN;
    if (cudaMalloc(&on_device, sizeof(float)) != cudaSuccess) return false;
    one_unit<C><<<1, 1>>>(x, on_device);
    const bool ran = cudaGetLastError() == cudaSuccess &&
                     cudaMemcpy(&got, on_device, sizeof(float), cudaMemcpyDefault) == cudaSuccess;
    cudaFree(on_device);

    float gx[C::gates], gh[C::gates], saved[C::saved], c = x;
    for (int g = 0; g < C::gates; g++) gx[g] = gh[g] = x;
    return ran && std::abs(got - C::forward(gx, gh, x, c, saved)) < 1e-6f;
}

Device describe(int index) {
    cudaDeviceProp p;
    check(cudaGetDeviceProperties(&p, index), "cudaGetDeviceProperties");
    int previous = 0;
    check(cudaGetDevice(&previous), "cudaGetDevice");
    check(cudaSetDevice(index), "cudaSetDevice");
    const bool runs = agrees_with_host<Lstm>() && agrees_with_host<Gru>();
    check(cudaSetDevice(previous), "cudaSetDevice");
    return {p.name,
            10 * p.major + p.minor,
            p.multiProcessorCount,
            p.regsPerMultiprocessor,
            int(p.sharedMemPerBlockOptin),
            p.l2CacheSize,
            runs};
}

}  // namespace

std::vector<Device> devices() {
    int count = 0;
    check(cudaGetDeviceCount(&count), "cudaGetDeviceCount");
    std::vector<Device> all;
    for (int i = 0; i < count; i++) all.push_back(describe(i));
    return all;
}

int runtime_version() { return CUDART_VERSION; }

int driver_version() {
    int version = 0;
    check(cudaDriverGetVersion(&version), "cudaDriverGetVersion");
    return version;
}

}  // namespace rnn::cuda
