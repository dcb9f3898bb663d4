// A block by itself: indices, shared memory, barriers, time.
#include <ptx/barrier.h>
#include <ptx/shared.h>
#include <ptx/time.h>

#include "kernel.h"

using namespace rnn::cuda;

namespace {

__constant__ int primes[4] = {2, 3, 5, 7};

// to (threads of the grid, 6)
__global__ void indices(Arguments p) {
    const int block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    const int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    const int threads = blockDim.x * blockDim.y * blockDim.z;
    int* to = p.array<int>(0) + 6 * (block * threads + thread);
    to[0] = blockIdx.x, to[1] = blockIdx.y, to[2] = blockIdx.z;
    to[3] = threadIdx.x, to[4] = threadIdx.y, to[5] = threadIdx.z;
}

// Reverses (blocks, threads), through static and then dynamic shared memory, and adds primes.
__global__ void reverse(Arguments p) {
    __shared__ int fixed[64];
    int* given = ptx::dynamic_shared<int>();
    const int n = blockDim.x, me = threadIdx.x;
    int* values = p.array<int>(0) + blockIdx.x * n;
    fixed[me] = values[me];
    __syncthreads();
    given[n - 1 - me] = fixed[n - 1 - me] + primes[me % 4];
    __syncthreads();
    values[me] = given[n - 1 - me];
}

// Two parts of a block, each with a barrier of its own, and one that only arrives.
__global__ void parts(Arguments p) {
    __shared__ int values[96];
    const int me = threadIdx.x, part = me / 32;
    values[me] = me;
    if (part == 2) {
        ptx::barrier_arrive(1, 64);
        return;
    }
    if (part == 0) ptx::barrier_sync(1, 64);
    p.array<int>(0)[me] = part ? me : values[64 + me];
}

// Gives up waiting for what never comes.
__global__ void give_up(Arguments p) {
    const uint64_t start = ptx::nanoseconds();
    const volatile int* flag = p.array<int>(0);
    bool in_time = true;
    while (!*flag && (in_time = ptx::nanoseconds() - start < 1'000'000)) {
    }
    p.array<int>(1)[0] = in_time;
}

const Registered kernels({
    {"indices", indices},
    {"reverse", reverse},
    {"parts", parts},
    {"give up", give_up},
});

}  // namespace
