// Barriers in shared memory.
#include <ptx/mbarrier.h>

#include "kernel.h"

using namespace rnn::cuda;

namespace {

__device__ void wait(const ptx::Mbarrier* m, int phase) {
    while (!ptx::mbarrier_try_wait(m, phase & 1)) {
    }
}

// The first half of the threads fills one slot for the other half, numbers[0] times.
__global__ void hand_over(Arguments p) {
    __shared__ ptx::Mbarrier full, empty;
    int* slot = ptx::dynamic_shared<int>();
    const int half = blockDim.x / 2, me = threadIdx.x % half, rounds = p.number(0);
    if (threadIdx.x == 0) {
        ptx::mbarrier_init(&full, half);
        ptx::mbarrier_init(&empty, half);
    }
    __syncthreads();
    for (int round = 0; round < rounds; round++) {
        if (int(threadIdx.x) < half) {
            wait(&empty, round + 1);  // the phase before the first counts as complete
            slot[me] = p.array<int>(0)[round * half + me];
            ptx::mbarrier_arrive(&full);
        } else {
            wait(&full, round);
            p.array<int>(1)[round * half + me] = slot[half - 1 - me];
            ptx::mbarrier_arrive(&empty);
        }
    }
}

// What try_wait says of both parities: at the start, after one of two arrivals, after both, and of
// a phase with bytes to come.
__global__ void phases(Arguments p) {
    __shared__ ptx::Mbarrier m;
    int* out = p.array<int>(0);
    const auto ask = [&] {
        *out++ = ptx::mbarrier_try_wait(&m, 0);
        *out++ = ptx::mbarrier_try_wait(&m, 1);
    };
    ptx::mbarrier_init(&m, 2);
    ask();
    ptx::mbarrier_arrive(&m);
    ask();
    ptx::mbarrier_arrive(&m);
    ask();
    ptx::mbarrier_expect(&m, 16);
    ptx::mbarrier_arrive(&m);
    ptx::mbarrier_arrive(&m);
    ask();
    ptx::mbarrier_invalidate(&m);
}

const Registered kernels({
    {"hand over", hand_over},
    {"phases", phases},
});

}  // namespace
