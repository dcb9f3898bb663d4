// Kernels that break one rule each; most of these would work on a GPU, most of the time.
#include <ptx/barrier.h>
#include <ptx/bulk.h>
#include <ptx/copy.h>
#include <ptx/matrix.h>
#include <ptx/memory.h>
#include <ptx/time.h>

#include "kernel.h"

using namespace rnn::cuda;

namespace {

// A lane exits, the others wait for it in an instruction of the whole warp.
__global__ void exited_lane(Arguments p) {
    uint32_t a[4] = {}, b[2] = {};
    float d[4] = {};
    if (threadIdx.x == 31) return;
    ptx::mma<float>(d, a, b);
    p.array<float>(0)[threadIdx.x] = d[0];
}

__device__ void store_in_bulk(void* to, const void* shared) {
    ptx::bulk_store(to, shared, 128);
    ptx::commit_bulk();
}

// Exits while its shared memory is still read.
__global__ void bulk_exit(Arguments p) {
    float* shared = ptx::dynamic_shared<float>();
    shared[threadIdx.x] = threadIdx.x;
    ptx::proxy_fence();
    __syncthreads();
    if (threadIdx.x == 0) store_in_bulk(p.array<float>(0), shared);
}

// Atomic operations need the fence as well.
__global__ void atomic_proxy(Arguments p) {
    int* shared = ptx::dynamic_shared<int>();
    shared[threadIdx.x] = 0;
    ptx::proxy_fence();
    atomicAdd(&shared[threadIdx.x], 1);
    __syncthreads();
    if (threadIdx.x) return;
    store_in_bulk(p.array<int>(0), shared);
    ptx::wait_for_bulk<0>();
}

// That of mbarriers is for mbarriers alone.
__global__ void wrong_fence(Arguments p) {
    float* shared = ptx::dynamic_shared<float>();
    shared[threadIdx.x] = threadIdx.x;
    ptx::mbarrier_init_fence();
    __syncthreads();
    if (threadIdx.x) return;
    store_in_bulk(p.array<float>(0), shared);
    ptx::wait_for_bulk<0>();
}

__global__ void bulk_into_shared(Arguments) {
    float* shared = ptx::dynamic_shared<float>();
    if (threadIdx.x) return;
    for (int i = 0; i < 32; i++) shared[i] = i;
    ptx::proxy_fence();
    store_in_bulk(shared + 32, shared);
    ptx::wait_for_bulk<0>();
}

// A wait may end for no reason; nobody looks.
__global__ void one_try(Arguments p) {
    __shared__ ptx::Mbarrier m;
    __shared__ int value;
    if (threadIdx.x == 0) {
        ptx::mbarrier_init(&m, 1);
        value = 0;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        value = 1;
        ptx::mbarrier_arrive(&m);
    }
    for (int i = 0; i < 20; i++) ptx::nanoseconds();
    ptx::mbarrier_try_wait(&m, 0);
    p.array<int>(0)[threadIdx.x] = value;
}

__global__ void invalidated_under_waiters(Arguments) {
    __shared__ ptx::Mbarrier m;
    if (threadIdx.x == 0) ptx::mbarrier_init(&m, 1);
    __syncthreads();
    if (threadIdx.x == 1) ptx::mbarrier_try_wait(&m, 0);
    if (threadIdx.x == 0) ptx::mbarrier_invalidate(&m);
}

// Others may still ask.
__global__ void invalidated_early(Arguments) {
    __shared__ ptx::Mbarrier m;
    if (threadIdx.x == 0) ptx::mbarrier_init(&m, blockDim.x);
    __syncthreads();
    ptx::mbarrier_arrive(&m);
    while (!ptx::mbarrier_try_wait(&m, 0)) {
    }
    if (threadIdx.x == 0) ptx::mbarrier_invalidate(&m);
}

__global__ void copy_past_the_end(Arguments p) {
    __shared__ float shared[24];
    memcpy(shared, p.array<float>(0) + 8, sizeof(float) * p.number(0));
}

__global__ void racing_copies(Arguments p) {
    memcpy(p.array<float>(1), p.array<float>(0) + threadIdx.x, sizeof(float) * p.number(0));
}

__global__ void copy_reads_more(Arguments p) {
    char* shared = ptx::dynamic_shared<char>() + 4 * threadIdx.x;
    ptx::copy_async<4>(shared, p.array<char>(0), 8);
}

__global__ void matrix_in_global_memory(Arguments p) {
    uint32_t to[1];
    ptx::load_matrices(to, p.array<uint4>(0) + threadIdx.x % 8);
    p.array<uint32_t>(0)[threadIdx.x] = to[0];
}

// A block leaves before the barrier of the grid.
__global__ void left_grid(Arguments p) {
    if (blockIdx.x == 1) return;
    ptx::sync_grid();
    p.array<int>(0)[blockIdx.x] = 1;
}

// Half of each warp, where whole warps count.
__global__ void half_warps(Arguments p) {
    __shared__ int values[64];
    const int me = threadIdx.x;
    values[me] = me;
    if (me % 32 < 16)
        ptx::barrier_sync(1, 32);
    else
        __syncwarp(0xffff0000);
    __syncthreads();
    p.array<int>(0)[me] = values[me ^ 32];
}

__global__ void no_count(Arguments) { ptx::barrier_sync(1, 0); }

__global__ void two_counts(Arguments) { ptx::barrier_sync(1, threadIdx.x < 32 ? 96 : 64); }

// One __syncthreads in each branch.
__global__ void branches(Arguments p) {
    int* out = p.array<int>(0);
    if (threadIdx.x % 2) {
        out[threadIdx.x] = 1;
        __syncthreads();
    } else {
        out[threadIdx.x] = 2;
        __syncthreads();
    }
}

// An exchange that did not happen publishes nothing.
__global__ void failed_exchange(Arguments p) {
    unsigned *flag = p.array<unsigned>(1), *done = p.array<unsigned>(2);
    int* value = p.array<int>(0);
    if (threadIdx.x == 0) {
        *value = 5;
        __threadfence();
        atomicCAS(flag, 1u, 2u);
        atomicExch(done, 1u);
    } else if (threadIdx.x == 32) {
        const volatile unsigned* seen = done;
        while (!*seen) __nanosleep(10);
        if (ptx::load_acquire(flag) == 0) value[1] = *value;
    }
}

// Writes to a peer that has surely started, but nothing says so.
__global__ void unknown_peer(Arguments p) {
    __shared__ int values[32];
    for (int i = 0; i < 20; i++) ptx::nanoseconds();
    ptx::map_shared(values, ptx::cluster_rank() ^ 1)[threadIdx.x] = 1;
    ptx::cluster_arrive();
    ptx::cluster_wait();
    p.array<int>(0)[blockIdx.x * blockDim.x + threadIdx.x] = values[threadIdx.x];
}

// The last thing that is sent arrives when it may, perhaps at a block that has gone.
__global__ void unawaited_store(Arguments) {
    __shared__ ptx::Mbarrier m;
    __shared__ uint32_t got;
    if (threadIdx.x == 0) {
        ptx::mbarrier_init(&m, 1);
        ptx::mbarrier_expect(&m, 4);
    }
    ptx::cluster_arrive();
    ptx::cluster_wait();
    const uint32_t other = ptx::cluster_rank() ^ 1;
    if (threadIdx.x == 0) ptx::store_async(ptx::at_peer(&got, other), 7u, ptx::at_peer(&m, other));
    ptx::cluster_arrive();
    ptx::cluster_wait();
}

// The sender exits while a bulk copy may still read its memory.
__global__ void sender_exit(Arguments p) {
    __shared__ ptx::Mbarrier m;
    float* shared = ptx::dynamic_shared<float>();  // (2, 32)
    shared[threadIdx.x] = threadIdx.x;
    ptx::proxy_fence();
    if (threadIdx.x == 0) {
        ptx::mbarrier_init(&m, 1);
        ptx::mbarrier_arrive_expect(&m, 128);
        ptx::mbarrier_init_fence();
    }
    ptx::cluster_arrive();
    ptx::cluster_wait();
    if (ptx::cluster_rank() == 1) {
        if (threadIdx.x == 0)
            ptx::bulk_send(ptx::at_peer(shared + 32, 0), shared, 128, ptx::at_peer(&m, 0));
        return;
    }
    while (!ptx::mbarrier_try_wait(&m, 0)) {
    }
    p.array<float>(0)[threadIdx.x] = shared[32 + threadIdx.x];
}

// Nothing says that the peer has read when the block exits.
__global__ void early_leave(Arguments p) {
    __shared__ int values[32];
    values[threadIdx.x] = threadIdx.x;
    ptx::cluster_arrive();
    ptx::cluster_wait();
    if (ptx::cluster_rank() == 0) {
        p.array<int>(0)[threadIdx.x] = ptx::map_shared(values, 1)[threadIdx.x];
        return;
    }
    for (int i = 0; i < 200; i++) ptx::nanoseconds();
}

__global__ void uninitialised_sum(Arguments p) {
    __shared__ int sum;
    atomicAdd(&sum, 1);
    __syncthreads();
    p.array<int>(0)[threadIdx.x] = sum;
}

__global__ void odd_segments(Arguments p) {
    p.array<int>(0)[threadIdx.x] = __shfl_xor_sync(0xffffffff, int(threadIdx.x), 1, 12);
}

const Registered kernels({
    {"exited lane", exited_lane},
    {"bulk exit", bulk_exit},
    {"atomic proxy", atomic_proxy},
    {"wrong fence", wrong_fence},
    {"bulk into shared", bulk_into_shared},
    {"one try", one_try},
    {"invalidated under waiters", invalidated_under_waiters},
    {"invalidated early", invalidated_early},
    {"copy past the end", copy_past_the_end},
    {"racing copies", racing_copies},
    {"copy reads more", copy_reads_more},
    {"matrix in global memory", matrix_in_global_memory},
    {"left grid", left_grid},
    {"half warps", half_warps},
    {"no count", no_count},
    {"two counts", two_counts},
    {"branches", branches},
    {"failed exchange", failed_exchange},
    {"unknown peer", unknown_peer},
    {"unawaited store", unawaited_store},
    {"sender exit", sender_exit},
    {"early leave", early_leave},
    {"uninitialised sum", uninitialised_sum},
    {"odd segments", odd_segments},
});

}  // namespace
