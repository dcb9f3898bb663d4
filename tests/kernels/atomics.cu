// Memory that threads share on purpose.
#include <ptx/barrier.h>
#include <ptx/memory.h>

#include "kernel.h"

using namespace rnn::cuda;

namespace {

// All of them, by all threads: (8) of one type.
template <class T>
__global__ void operations(Arguments p) {
    T* at = p.array<T>(0);
    const T x = T(threadIdx.x + 1);
    atomicAdd(&at[0], x);
    atomicMax(&at[2], x);
    atomicMin(&at[3], x);
    atomicAnd(&at[4], x | 64);
    atomicOr(&at[5], x);
    atomicExch(&at[6], T(7));
    if constexpr (sizeof(T) == 4) atomicSub(&at[1], x);
    for (T seen = 0, next; (next = atomicCAS(&at[7], seen, T(seen + x))) != seen;) seen = next;
}

// Block b waits for the flag of block b - 1, adds to what that left, and passes it on. The flag is
// released and acquired, fenced (volatile), or the value itself.
__device__ void wait_acquired(const uint32_t* flag) {
    while (!ptx::load_acquire(flag)) {
    }
}

__global__ void relay_released(Arguments p) {
    const int b = blockIdx.x;
    if (b) wait_acquired(p.array<uint32_t>(1) + b - 1);
    p.array<int>(0)[b] += b ? p.array<int>(0)[b - 1] : 0;
    ptx::store_release(p.array<uint32_t>(1) + b, 1);
}

__global__ void relay_fenced(Arguments p) {
    const int b = blockIdx.x;
    volatile uint32_t* flags = p.array<uint32_t>(1);
    while (b && !flags[b - 1]) __nanosleep(100);
    __threadfence();
    p.array<int>(0)[b] += b ? p.array<int>(0)[b - 1] : 0;
    __threadfence();
    flags[b] = 1;
}

// Value and flag in one word.
__global__ void relay_tagged(Arguments p) {
    const int b = blockIdx.x;
    uint64_t* words = p.array<uint64_t>(1);
    uint64_t before = uint64_t(1) << 32;
    while (b && !((before = ptx::load_relaxed(&words[b - 1])) >> 32)) {
    }
    const int value = p.array<int>(0)[b] + int(uint32_t(before));
    p.array<int>(0)[b] = value;
    ptx::store_relaxed(&words[b], uint64_t(1) << 32 | uint32_t(value));
}

// Lanes wait for two pieces of 16 bytes each, every word of which comes by itself.
__global__ void relay_words(Arguments p) {
    const int b = blockIdx.x, lanes = blockDim.x;
    uint4* const words = p.array<uint4>(0) + (b * lanes + threadIdx.x) * 2;
    uint4 before[2] = {};
    const auto come = [](uint4 v) { return v.x && v.y && v.z && v.w; };
    while (b && !(come(before[0]) && come(before[1])))
        for (int i = 0; i < 2; i++) before[i] = ptx::load_relaxed(words - 2 * lanes + i);
    for (int i = 0; i < 2; i++) {
        const uint4 v = before[i];
        ptx::store_relaxed(words + i, {v.x + 1, v.y + 1, v.z + 1, v.w + 1});
    }
}

// The first block goes on when all have added to a counter.
__global__ void count(Arguments p) {
    const int n = gridDim.x * blockDim.x, me = blockIdx.x * blockDim.x + threadIdx.x;
    uint32_t* counter = p.array<uint32_t>(1);
    p.array<int>(0)[me] = me;
    ptx::add_release(counter, 1);
    if (blockIdx.x) return;
    while (ptx::load_acquire(counter) != uint32_t(n)) {
    }
    int sum = 0;
    for (int i = 0; i < n; i++) sum += p.array<int>(0)[i];
    p.array<int>(2)[me] = sum;
}

// Which block came when: the first word counts.
__global__ void log_order(Arguments p) {
    int* log = p.array<int>(0);
    log[1 + atomicAdd(&log[0], 1)] = blockIdx.x;
}

// A barrier of the grid between rounds.
__global__ void rounds(Arguments p) {
    const int n = gridDim.x * blockDim.x, me = blockIdx.x * blockDim.x + threadIdx.x;
    for (int round = 0; round < p.number(0); round++) {
        int* from = p.array<int>(round % 2);
        p.array<int>(1 - round % 2)[me] = from[(me + 1) % n] + 1;
        ptx::sync_grid();
    }
}

const Registered kernels({
    {"atomics int", operations<int>},
    {"atomics long", operations<unsigned long long>},
    {"relay released", relay_released},
    {"relay fenced", relay_fenced},
    {"relay tagged", relay_tagged},
    {"relay words", relay_words},
    {"count", count},
    {"log", log_order},
    {"rounds", rounds},
});

}  // namespace
