// Kernels that are right, and with numbers[0] set are wrong in one way each. Within a block.
#include <ptx/bulk.h>
#include <ptx/copy.h>
#include <ptx/matrix.h>
#include <ptx/memory.h>

#include "kernel.h"

using namespace rnn::cuda;

namespace {

// Reverses a block's values in shared memory: the barrier is dropped.
__global__ void barrier(Arguments p) {
    __shared__ float values[64];
    const int me = threadIdx.x, n = blockDim.x;
    values[me] = p.array<float>(0)[me];
    if (!p.number(0)) __syncthreads();
    p.array<float>(1)[me] = values[n - 1 - me];
}

// Threads of one warp pass values on: the warp's barrier is dropped.
__global__ void warp_barrier(Arguments p) {
    __shared__ float values[64];
    const int me = threadIdx.x;
    values[me] = p.array<float>(0)[me];
    if (!p.number(0)) __syncwarp();
    p.array<float>(1)[me] = values[me ^ 1];
}

// Steps of a recurrence through two buffers: only one is used, so that the next step's values
// overwrite those that others still read.
__global__ void buffer(Arguments p) {
    __shared__ float state[2][64];
    const int me = threadIdx.x, n = blockDim.x;
    float h = p.array<float>(0)[me];
    for (int t = 0; t < 4; t++) {
        float* now = state[p.number(0) ? 0 : t % 2];
        now[me] = h;
        __syncthreads();
        h = 0.5f * (now[(me + 1) % n] + now[(me + n - 1) % n]);
    }
    p.array<float>(1)[me] = h;
}

// The last tile is not masked, or one row too far.
__global__ void tile(Arguments p) {
    constexpr int width = 4;
    const int H = 50, me = threadIdx.x;
    for (int j = me * width; j < me * width + width; j++)
        if (j < H + p.number(0)) p.array<float>(1)[j] = 2 * p.array<float>(0)[j];
}

__global__ void shared_tile(Arguments p) {
    float* values = ptx::dynamic_shared<float>();  // (64)
    const int me = threadIdx.x;
    for (int j = me; j < 64 + p.number(0); j += blockDim.x) values[j] = p.array<float>(0)[j % 64];
    __syncthreads();
    p.array<float>(1)[me] = values[me];
}

// Half of the values are never set.
__global__ void unwritten(Arguments p) {
    __shared__ float values[64];
    const int me = threadIdx.x;
    if (!p.number(0) || me % 2) values[me] = p.array<float>(0)[me];
    __syncthreads();
    p.array<float>(1)[me] = values[me];
}

// The consumer waits for the phase before.
__global__ void phase(Arguments p) {
    __shared__ ptx::Mbarrier full;
    __shared__ float slots[4];
    if (threadIdx.x == 0) ptx::mbarrier_init(&full, 1);
    __syncthreads();
    for (int t = 0; t < 4; t++) {
        if (threadIdx.x == 0) {
            slots[t] = p.array<float>(0)[t];
            ptx::mbarrier_arrive(&full);
        } else if (threadIdx.x == 32) {
            while (!ptx::mbarrier_try_wait(&full, (t + p.number(0)) % 2)) {
            }
            p.array<float>(1)[t] = slots[t];
        }
        __syncthreads();
    }
}

// An arrival is missing: nobody goes on.
__global__ void arrival(Arguments p) {
    __shared__ ptx::Mbarrier all;
    if (threadIdx.x == 0) ptx::mbarrier_init(&all, blockDim.x);
    __syncthreads();
    if (!p.number(0) || threadIdx.x != 33) ptx::mbarrier_arrive(&all);
    while (!ptx::mbarrier_try_wait(&all, 0)) {
    }
    p.array<float>(1)[threadIdx.x] = p.array<float>(0)[threadIdx.x];
}

// One warp leaves out a barrier and is a barrier behind from then on.
__global__ void divergence(Arguments p) {
    const int me = threadIdx.x;
    for (int t = 0; t < 2; t++)
        if (!p.number(0) || t || me >= 32) __syncthreads();
    if (p.number(0) && me < 32) __nanosleep(1);
    while (p.number(0) && me < 32 && !ptx::load_acquire(p.array<uint32_t>(2))) {
    }
    if (p.number(0) && me == 32) ptx::store_release(p.array<uint32_t>(2), 1);
    p.array<float>(1)[me] = p.array<float>(0)[me];
}

// A copy's data is used before it has been waited for, or by others without a barrier.
__global__ void copy_wait(Arguments p) {
    uint4* shared = ptx::dynamic_shared<uint4>();
    const int me = threadIdx.x;
    ptx::copy_async<16>(&shared[me], &p.array<uint4>(0)[me]);
    ptx::commit_copies();
    if (p.number(0))
        ptx::wait_for_copies<1>();
    else
        ptx::wait_for_copies<0>();
    p.array<uint4>(1)[me] = shared[me];
}

__global__ void copy_barrier(Arguments p) {
    uint4* shared = ptx::dynamic_shared<uint4>();
    const int me = threadIdx.x, n = blockDim.x;
    ptx::copy_async<16>(&shared[me], &p.array<uint4>(0)[me]);
    ptx::commit_copies();
    if (p.number(0)) __syncthreads();
    ptx::wait_for_copies<0>();
    if (!p.number(0)) __syncthreads();
    p.array<uint4>(1)[me] = shared[n - 1 - me];
}

// What threads wrote goes out as a bulk copy: without the fence it may be what was there before.
__global__ void proxy(Arguments p) {
    float* shared = ptx::dynamic_shared<float>();
    const int me = threadIdx.x;
    shared[me] = p.array<float>(0)[me];
    if (!p.number(0)) ptx::proxy_fence();
    __syncthreads();
    if (me == 0) {
        ptx::bulk_store(p.array<float>(1), shared, blockDim.x * sizeof(float));
        ptx::commit_bulk();
        ptx::wait_for_bulk<0>();
    }
}

// More bytes are announced than come.
__global__ void bytes(Arguments p) {
    __shared__ ptx::Mbarrier landed;
    float* shared = ptx::dynamic_shared<float>();
    const int me = threadIdx.x, n = blockDim.x * sizeof(float);
    if (me == 0) {
        ptx::mbarrier_init(&landed, 1);
        ptx::mbarrier_init_fence();
        ptx::mbarrier_arrive_expect(&landed, n + 16 * p.number(0));
        ptx::bulk_load(shared, p.array<float>(0), n, &landed);
    }
    __syncthreads();
    while (!ptx::mbarrier_try_wait(&landed, 0)) {
    }
    p.array<float>(1)[me] = shared[me];
}

// An address that 16 bytes do not divide.
__global__ void alignment(Arguments p) {
    const int me = threadIdx.x;
    if (me >= 8) return;
    const float* from = p.array<float>(0) + 4 * me + p.number(0);
    ptx::store16(p.array<float>(1) + 4 * me, ptx::load16(from));
}

// Lanes shuffle under a mask that names one who is elsewhere.
__global__ void mask(Arguments p) {
    const int me = threadIdx.x;
    float value = p.array<float>(0)[me];
    if (me % 32 != 7) value = __shfl_down_sync(p.number(0) ? 0xffffffff : 0xffffff7f, value, 16);
    __syncthreads();
    p.array<float>(1)[me] = value;
}

// Two registers of a fragment are exchanged: no rule is broken, but the product is wrong.
__global__ void fragment(Arguments p) {
    const int me = threadIdx.x % 32, broken = p.number(0);
    uint32_t a[4] = {}, b[2] = {};
    float d[4] = {};
    for (int i = 0; i < 4; i++) {
        const float* row = p.array<float>(0) + me / 4 + (i % 2 != broken) * 8;
        a[i] = ptx::to_tf32(row[me % 4 + i / 2 * 4]);
    }
    for (int i = 0; i < 2; i++) b[i] = ptx::to_tf32(me / 4 == me % 4 + 4 * i);
    ptx::mma<float>(d, a, b);
    if (threadIdx.x < 32) p.array<float>(1)[me] = d[0] - d[1] + 2 * d[2] - 3 * d[3];
}

const Registered kernels({
    {"broken barrier", barrier},
    {"broken warp barrier", warp_barrier},
    {"broken buffer", buffer},
    {"broken tile", tile},
    {"broken shared tile", shared_tile},
    {"broken unwritten", unwritten},
    {"broken phase", phase},
    {"broken arrival", arrival},
    {"broken divergence", divergence},
    {"broken copy wait", copy_wait},
    {"broken copy barrier", copy_barrier},
    {"broken proxy", proxy},
    {"broken bytes", bytes},
    {"broken alignment", alignment},
    {"broken mask", mask},
    {"broken fragment", fragment},
});

}  // namespace
