// Kernels that are right, and with numbers[0] set are wrong in one way each. Between blocks.
#include <ptx/bulk.h>
#include <ptx/memory.h>

#include "kernel.h"

using namespace rnn::cuda;

namespace {

__device__ void sync_cluster() {
    ptx::cluster_arrive();
    ptx::cluster_wait();
}
__device__ void wait(const ptx::Mbarrier* m, int phase) {
    while (!ptx::mbarrier_try_wait(m, phase & 1)) {
    }
}

// A peer's memory is read before it has started or has written.
__global__ void peer_start(Arguments p) {
    __shared__ float values[64];
    const int me = threadIdx.x, at = blockIdx.x * blockDim.x + me;
    values[me] = p.array<float>(0)[at];
    if (p.number(0))
        __syncthreads();
    else
        sync_cluster();
    p.array<float>(1)[at] = ptx::map_shared(values, ptx::cluster_rank() ^ 1)[me];
    sync_cluster();
}

// Blocks exit while others still read their memory.
__global__ void peer_exit(Arguments p) {
    __shared__ float values[64];
    const int me = threadIdx.x, at = blockIdx.x * blockDim.x + me;
    values[me] = p.array<float>(0)[at];
    sync_cluster();
    p.array<float>(1)[at] = ptx::map_shared(values, ptx::cluster_rank() ^ 1)[me];
    if (!p.number(0)) sync_cluster();
}

// Each block sends its values to the other, step by step. Broken: 1, with one buffer for two steps;
// 2, waiting for the wrong phase; 3, announcing too few bytes; 4, exiting with a store under way;
// 5, to an mbarrier the peer may not have initialised.
__global__ void exchange(Arguments p) {
    __shared__ ptx::Mbarrier arrived[2];
    __shared__ float got[2][64];
    const int me = threadIdx.x, at = blockIdx.x * blockDim.x + me, broken = p.number(0);
    const int other = ptx::cluster_rank() ^ 1, n = blockDim.x * sizeof(float);
    if (me < 2) ptx::mbarrier_init(&arrived[me], 1);
    if (broken == 5)
        __syncthreads();
    else
        sync_cluster();
    float h = p.array<float>(0)[at];
    constexpr int T = 4;
    for (int t = 0; t < T; t++) {
        const int half = broken == 1 ? 0 : t % 2, phase = broken == 1 ? t : t / 2;
        if (me == 0) ptx::mbarrier_arrive_expect(&arrived[half], broken == 3 ? n - 4 : n);
        ptx::store_async(ptx::at_peer(&got[half][me], other), __float_as_uint(h),
                         ptx::at_peer(&arrived[half], other));
        if (broken == 4 && t + 1 == T && other) break;
        wait(&arrived[half], phase + (broken == 2 && t == 2));
        h = 0.5f * (h + got[half][(me + 1) % blockDim.x]);
        __syncthreads();
    }
    p.array<float>(1)[at] = h;
    if (broken != 4) sync_cluster();
}

// A flag is set with no release, so that the values may come after it.
__global__ void flag(Arguments p) {
    uint32_t* set = p.array<uint32_t>(2);
    float* values = p.array<float>(3);
    const int me = threadIdx.x;
    if (blockIdx.x == 0) {
        values[me] = p.array<float>(0)[me];
        __syncthreads();
        if (me) return;
        if (p.number(0))
            *static_cast<volatile uint32_t*>(set) = 1;
        else
            ptx::store_release(set, 1);
    } else if (blockIdx.x == 1) {
        while (!ptx::load_acquire(set)) {
        }
        p.array<float>(1)[me] = values[me];
    }
}

// Blocks of an ordinary launch wait for each other, where one may start after the other's end.
__global__ void residency(Arguments p) {
    uint32_t* counter = p.array<uint32_t>(2);
    const int me = threadIdx.x;
    if (me == 0) ptx::add_release(counter, 1);
    while (p.number(0) && ptx::load_acquire(counter) != gridDim.x) {
    }
    p.array<float>(1)[blockIdx.x * blockDim.x + me] =
        p.array<float>(0)[blockIdx.x * blockDim.x + me];
}

const Registered kernels({
    {"broken peer start", peer_start},
    {"broken peer exit", peer_exit},
    {"broken exchange", exchange},
    {"broken flag", flag},
    {"broken residency", residency},
});

}  // namespace
