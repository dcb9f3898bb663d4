// Copies that run beside their thread.
#include <ptx/bulk.h>
#include <ptx/copy.h>

#include "kernel.h"

using namespace rnn::cuda;

namespace {

// Each thread copies `bytes`, of which it reads numbers[0], and gives them out again.
template <int bytes>
__global__ void copy(Arguments p) {
    char* shared = ptx::dynamic_shared<char>() + threadIdx.x * bytes;
    ptx::copy_async<bytes>(shared, p.array<char>(0) + threadIdx.x * bytes, p.number(0));
    ptx::commit_copies();
    ptx::wait_for_copies<0>();
    for (int i = 0; i < bytes; i++) p.array<char>(1)[threadIdx.x * bytes + i] = shared[i];
}

// Three buffers: the next copies run while all threads read what one of them has copied.
__global__ void pipeline(Arguments p) {
    constexpr int buffers = 3;
    uint4* shared = ptx::dynamic_shared<uint4>();
    const int n = blockDim.x, me = threadIdx.x, steps = p.number(0);
    const auto start = [&](int step) {
        if (step < steps)
            ptx::copy_async<16>(&shared[step % buffers * n + me],
                                &p.array<uint4>(0)[step * n + me]);
        ptx::commit_copies();
    };
    for (int step = 0; step < buffers - 1; step++) start(step);
    for (int step = 0; step < steps; step++) {
        ptx::wait_for_copies<buffers - 2>();
        __syncthreads();
        start(step + buffers - 1);
        p.array<uint4>(1)[step * n + me] = shared[step % buffers * n + n - 1 - me];
    }
}

// Into shared memory as bulk copies, doubled there, and out as bulk copies.
__global__ void bulk(Arguments p) {
    __shared__ ptx::Mbarrier landed;
    float* shared = ptx::dynamic_shared<float>();
    const int n = p.number(0), steps = p.number(1);
    if (threadIdx.x == 0) {
        ptx::mbarrier_init(&landed, 1);
        ptx::mbarrier_init_fence();
    }
    __syncthreads();
    for (int step = 0; step < steps; step++) {
        if (threadIdx.x == 0) {
            ptx::mbarrier_arrive_expect(&landed, n * sizeof(float));
            ptx::bulk_load(shared, p.array<float>(0) + step * n, n * sizeof(float), &landed);
        }
        while (!ptx::mbarrier_try_wait(&landed, step & 1)) {
        }
        for (int i = threadIdx.x; i < n; i += blockDim.x) shared[i] *= 2;
        ptx::proxy_fence();
        __syncthreads();
        if (threadIdx.x == 0) {
            ptx::bulk_store(p.array<float>(1) + step * n, shared, n * sizeof(float));
            ptx::commit_bulk();
            ptx::wait_for_bulk_reads<0>();
        }
    }
    if (threadIdx.x == 0) ptx::wait_for_bulk<0>();
}

const Registered kernels({
    {"copy 4", copy<4>},
    {"copy 8", copy<8>},
    {"copy 16", copy<16>},
    {"pipeline", pipeline},
    {"bulk", bulk},
});

}  // namespace
