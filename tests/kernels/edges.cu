// Kernels that are right, though a careless emulation would refuse them or never end. What each
// leaves in array 0 is in tests/test_edges.py.
#include <ptx/barrier.h>
#include <ptx/cluster.h>
#include <ptx/memory.h>
#include <ptx/time.h>

#include "kernel.h"

using namespace rnn::cuda;

namespace {

// Looks at a flag in every step, and goes on working.
__global__ void poll(Arguments p) {
    for (int t = 0; t < 2000; t++) {
        if (ptx::load_acquire(p.array<uint32_t>(1))) return;
        p.array<int>(0)[threadIdx.x] = t;
    }
}

// Atomic operations that happen to change nothing.
__global__ void no_change(Arguments p) {
    for (int t = 0; t < 100; t++) atomicMax(p.array<int>(0), 0);
    if (threadIdx.x == 0) p.array<int>(0)[1] = 1;
}

// Many waits that give up.
__global__ void timeouts(Arguments p) {
    const volatile int* flag = p.array<int>(1);
    for (int t = 0; t < 100; t++) {
        const uint64_t start = ptx::nanoseconds();
        while (!*flag && ptx::nanoseconds() - start < 1000) {
        }
    }
    p.array<int>(0)[0] = 1;
}

__global__ void clock_loop(Arguments p) {
    const long long start = clock64();
    while (clock64() - start < 100) {
    }
    p.array<int>(0)[0] = 1;
}

// Waits for two flags by turns.
__global__ void two_flags(Arguments p) {
    uint32_t* flags = p.array<uint32_t>(1);
    if (threadIdx.x == 0) {
        uint32_t a, b;
        do {
            a = ptx::load_acquire(flags), b = ptx::load_acquire(flags + 1);
        } while (!a || !b);
        p.array<int>(0)[0] = 1;
    } else if (threadIdx.x == 32) {
        ptx::store_release(flags, 1);
        ptx::store_release(flags + 1, 1);
    }
}

__global__ void spin_lock(Arguments p) {
    if (threadIdx.x) return;
    int* lock = p.array<int>(1);
    for (int i = 0; i < 5; i++) {
        while (atomicCAS(lock, 0, 1) != 0) {
        }
        __threadfence();
        p.array<int>(0)[0] += 1;
        __threadfence();
        atomicExch(lock, 0);
    }
}

// A barrier of the grid as one would write it by hand.
__global__ void own_grid_barrier(Arguments p) {
    int* values = p.array<int>(1);
    uint64_t* counter = p.array<uint64_t>(2);
    values[blockIdx.x * blockDim.x + threadIdx.x] = 1;
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();
        atomicAdd(reinterpret_cast<unsigned long long*>(counter), 1);
        while (ptx::load_relaxed(counter) != gridDim.x) {
        }
        __threadfence();
    }
    __syncthreads();
    int sum = 0;
    for (unsigned i = 0; i < gridDim.x * blockDim.x; i++) sum += values[i];
    p.array<int>(0)[blockIdx.x * blockDim.x + threadIdx.x] = sum;
}

// The start of a cluster with relaxed arrivals: mbarriers behind their own fence.
__global__ void relaxed_start(Arguments p) {
    __shared__ ptx::Mbarrier m;
    __shared__ uint32_t got;
    if (threadIdx.x == 0) {
        ptx::mbarrier_init(&m, 1);
        ptx::mbarrier_init_fence();
    }
    ptx::cluster_arrive_relaxed();
    ptx::cluster_wait();
    if (threadIdx.x == 0) {
        const uint32_t other = ptx::cluster_rank() ^ 1;
        ptx::mbarrier_arrive_expect(&m, 4);
        ptx::store_async(ptx::at_peer(&got, other), 7 + blockIdx.x, ptx::at_peer(&m, other));
        while (!ptx::mbarrier_try_wait(&m, 0)) {
        }
        p.array<uint32_t>(0)[blockIdx.x] = got;
    }
    ptx::cluster_arrive();
    ptx::cluster_wait();
}

// Blocks exit with no barrier at the end: all that was sent to them they have waited for.
__global__ void quiet_end(Arguments p) {
    __shared__ ptx::Mbarrier m;
    __shared__ uint32_t got;
    if (threadIdx.x == 0) ptx::mbarrier_init(&m, 1);
    ptx::cluster_arrive();
    ptx::cluster_wait();
    if (threadIdx.x) return;
    const uint32_t other = ptx::cluster_rank() ^ 1;
    ptx::mbarrier_arrive_expect(&m, 4);
    ptx::store_async(ptx::at_peer(&got, other), 7 + blockIdx.x, ptx::at_peer(&m, other));
    while (!ptx::mbarrier_try_wait(&m, 0)) {
    }
    p.array<uint32_t>(0)[blockIdx.x] = got;
}

// A fence before a relaxed arrival orders memory.
__global__ void fenced_arrival(Arguments p) {
    int* values = p.array<int>(1);
    const int me = threadIdx.x, n = blockDim.x;
    values[blockIdx.x * n + me] = me;
    __threadfence();
    ptx::cluster_arrive_relaxed();
    ptx::cluster_wait();
    p.array<int>(0)[blockIdx.x * n + me] = values[(blockIdx.x ^ 1) * n + me];
}

// One warp arrives at the cluster's barrier and exits, another comes late.
__global__ void arrive_and_exit(Arguments p) {
    int* value = p.array<int>(1);
    const int warp = threadIdx.x / 32;
    if (warp == 2) {
        for (int i = 0; i < 50; i++) ptx::nanoseconds();
        if (threadIdx.x % 32 == 0) *value = 5;
    }
    __syncwarp();
    ptx::cluster_arrive();
    if (warp == 0) return;
    ptx::cluster_wait();
    if (warp == 1) p.array<int>(0)[threadIdx.x % 32] = *value;
}

// A barrier counts a warp that has not all its lanes as one that has.
__global__ void partial_warp(Arguments p) {
    __shared__ int values[36];
    const int me = threadIdx.x, n = blockDim.x;
    values[me] = me;
    ptx::barrier_sync(1, 64);
    p.array<int>(0)[me] = values[n - 1 - me];
}

// Threads that have exited are not waited for.
__global__ void early_exit(Arguments p) {
    __shared__ int values[64];
    const int me = threadIdx.x;
    if (me % 2) return;
    values[me] = me;
    __syncthreads();
    p.array<int>(0)[me] = values[62 - me];
}

struct Row {
    int values[8];
};

// Copies that the C library or the compiler makes.
__global__ void block_copies(Arguments p) {
    __shared__ Row rows[3];
    const int me = threadIdx.x;
    if (me == 0) {
        memcpy(&rows[0], p.array<Row>(1), sizeof(Row) * p.number(0));
        memset(&rows[1], 0, sizeof(Row) * p.number(0));
        rows[2] = p.array<Row>(1)[0];
    }
    __syncthreads();
    if (me < 8) {
        for (int i = 0; i < 3; i++) p.array<int>(0)[8 * i + me] = rows[i].values[me];
    }
}

// Of a lane's number only the last five bits count.
__global__ void wide_shuffles(Arguments p) {
    const int me = threadIdx.x;
    p.array<int>(0)[me] = __shfl_xor_sync(0xffffffff, me, -1);
    p.array<int>(0)[32 + me] = __shfl_xor_sync(0xffffffff, me, 33);
    p.array<int>(0)[64 + me] = __shfl_up_sync(0xffffffff, me, 33u);
}

const Registered kernels({
    {"poll", poll},
    {"no change", no_change},
    {"timeouts", timeouts},
    {"clock loop", clock_loop},
    {"two flags", two_flags},
    {"spin lock", spin_lock},
    {"own grid barrier", own_grid_barrier},
    {"relaxed start", relaxed_start},
    {"quiet end", quiet_end},
    {"fenced arrival", fenced_arrival},
    {"arrive and exit", arrive_and_exit},
    {"partial warp", partial_warp},
    {"early exit", early_exit},
    {"block copies", block_copies},
    {"wide shuffles", wide_shuffles},
});

}  // namespace
