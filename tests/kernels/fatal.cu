// Kernels that never end, or end the process.
#include <exchange.cuh>

#include "kernel.h"

namespace {

__global__ void division(Arguments p) {
    if (threadIdx.x == 3) p.array<int>(0)[0] = 7 / p.number(0);
}

__global__ void large_frame(Arguments p) {
    volatile char local[400 << 10];
    for (int i = sizeof(local) - 1; i >= 0; i--) local[i] = char(i);
    p.array<char>(0)[threadIdx.x] = local[threadIdx.x];
}

// Nobody else can run, let alone write there.
__global__ void deaf_loop(Arguments p) {
    int* flag = p.array<int>(0);
    for (int i = 0; flag[i % 2] == 0; i++) {
    }
}

// Waits for bytes that no peer sends.
__global__ void patience(Arguments) {
    __shared__ rnn::cuda::ptx::Mbarrier barriers[2];
    rnn::cuda::Arrivals arrivals(reinterpret_cast<char*>(barriers), 16);
    __syncthreads();
    arrivals.wait(0);
}

const Registered kernels({
    {"division", division},
    {"large frame", large_frame},
    {"deaf loop", deaf_loop},
    {"patience", patience},
});

}  // namespace
