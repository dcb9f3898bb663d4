// How the blocks of a cluster tell each other what they have computed, and wait for it.
#pragma once

#include <ptx/cluster.h>
#include <ptx/time.h>

#include "share.cuh"

namespace rnn::cuda {

// Those who are waited for run at the same time, so this is for what must not happen: better an
// error ("unspecified launch failure") than a device that hangs.
class Patience {
public:
    __device__ void lose() {
        if (++lost_ % often) return;  // the clock is slower to read than what is waited for
        const int64_t now = ptx::nanoseconds();
        if (start_ == 0) start_ = now;
        if (now - start_ > limit) __trap();
    }

private:
    static constexpr uint32_t often = 64;
    static constexpr int64_t limit = 20'000'000'000;  // nanoseconds
    int64_t start_ = 0;
    uint32_t lost_ = 0;
};

// Two buffers that peers fill in turn, each with an mbarrier that counts the bytes. Nobody can be
// two steps ahead, for a step needs what everyone sent in the one before.
class Arrivals {
public:
    // By all threads; `bytes` is what comes to this block at every step.
    __device__ Arrivals(char* barriers, uint32_t bytes)
        : barriers_(reinterpret_cast<ptx::Mbarrier*>(barriers)), bytes_(bytes) {
        if (threadIdx.x > 0) return;
        for (int i = 0; i < 2; i++) ptx::mbarrier_init(&barriers_[i], 1);
        ptx::mbarrier_init_fence();
        for (int i = 0; i < 2; i++) ptx::mbarrier_arrive_expect(&barriers_[i], bytes_);
    }

    // Until all of the k-th exchange (0, 1, ...) has come.
    __device__ void wait(int k) {
        ptx::Mbarrier* const m = here(k);
        const uint32_t parity = k >> 1 & 1;
        Patience patience;
        while (!ptx::mbarrier_try_wait(m, parity)) patience.lose();
        if (threadIdx.x == 0) ptx::mbarrier_arrive_expect(m, bytes_);  // for the next but one
        __syncwarp();  // matrix instructions take whole warps
    }

    // What counts the k-th here; peers have theirs at the same place.
    __device__ ptx::Mbarrier* here(int k) const { return &barriers_[k & 1]; }

private:
    ptx::Mbarrier* barriers_;
    uint32_t bytes_;
};

// What a block that is alone needs in its place.
class Nobody {
public:
    __device__ Nobody(char*, uint32_t) {}
    __device__ void wait(int) { __syncthreads(); }
};

template <bool together>
struct Peers {
    using type = Nobody;
};
template <>
struct Peers<true> {
    using type = Arrivals;
};

// Behind it, shared memory of all peers is as it was set up.
template <bool together>
__device__ inline void meet() {
    if constexpr (together) {
        ptx::cluster_arrive();
        ptx::cluster_wait();
    } else {
        __syncthreads();
    }
}

}  // namespace rnn::cuda
