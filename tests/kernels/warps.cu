// What lanes of a warp do together.
#include "kernel.h"

namespace {

// to (7, threads): a value per thread, shuffled in segments of numbers[0] lanes by numbers[1].
__global__ void shuffle(Arguments p) {
    const int me = threadIdx.x, n = blockDim.x, width = p.number(0), by = p.number(1);
    const unsigned all = 0xffffffff;
    const float value = p.array<float>(0)[me];
    float* to = p.array<float>(1);
    to[me] = __shfl_sync(all, value, by, width);
    to[n + me] = __shfl_up_sync(all, value, by, width);
    to[2 * n + me] = __shfl_down_sync(all, value, by, width);
    to[3 * n + me] = __shfl_xor_sync(all, value, by, width);
    int* votes = p.array<int>(2);
    votes[me] = int(__ballot_sync(all, value > 0));
    votes[n + me] = __any_sync(all, value > 2) != 0;
    votes[2 * n + me] = __all_sync(all, value > -2) != 0;
}

// Lanes that diverged: each half of a warp by itself, in loops of different length.
__global__ void halves(Arguments p) {
    const int me = threadIdx.x;
    const bool low = me % 32 < 16;
    const unsigned mask = low ? 0xffff : 0xffff0000;
    float sum = p.array<float>(0)[me];
    for (int by = 1; by < (low ? 16 : 4); by *= 2) sum += __shfl_xor_sync(mask, sum, by);
    p.array<float>(1)[me] = sum;
}

// A tree of sums in shared memory, with a barrier of the warp in between.
__global__ void sum(Arguments p) {
    __shared__ float values[32];
    const int me = threadIdx.x;
    values[me] = p.array<float>(0)[me];
    for (int half = 16; half; half /= 2) {
        __syncwarp();
        if (me < half) values[me] += values[me + half];
    }
    if (me == 0) *p.array<float>(1) = values[0];
}

const Registered kernels({
    {"shuffle", shuffle},
    {"halves", halves},
    {"sum", sum},
});

}  // namespace
