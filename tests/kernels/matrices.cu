// Matrix instructions, with their registers as they are: lane by lane.
#include <ptx/matrix.h>

#include "kernel.h"
#include "precision.cuh"

using namespace rnn::cuda;

namespace {

// d (32, 4) += a (32, 4) · b (32, 2)
template <class S>
__global__ void multiply(Arguments p) {
    const int lane = threadIdx.x;
    uint32_t a[4], b[2];
    float d[4];
    for (int i = 0; i < 4; i++) a[i] = p.array<uint32_t>(0)[4 * lane + i];
    for (int i = 0; i < 2; i++) b[i] = p.array<uint32_t>(1)[2 * lane + i];
    for (int i = 0; i < 4; i++) d[i] = p.array<float>(2)[4 * lane + i];
    ptx::mma<S>(d, a, b);
    for (int i = 0; i < 4; i++) p.array<float>(2)[4 * lane + i] = d[i];
}

// d (32, 4) = the sum of a (n, 32, 4) · b (n, 32, 2), as exact as float32.
__global__ void multiply_exactly(Arguments p) {
    const int lane = threadIdx.x;
    float d[4] = {};
    for (int k = 0; k < p.number(0); k++) {
        uint32_t a[4], b[2];
        for (int i = 0; i < 4; i++) a[i] = p.array<uint32_t>(0)[(32 * k + lane) * 4 + i];
        for (int i = 0; i < 2; i++) b[i] = p.array<uint32_t>(1)[(32 * k + lane) * 2 + i];
        accumulate<Exact>(d, a, b);
    }
    for (int i = 0; i < 4; i++) p.array<float>(2)[4 * lane + i] = d[i];
}

// to (32, N) from N matrices of 8 rows of 16 bytes.
template <int N, bool transposed>
__global__ void load(Arguments p) {
    uint4* rows = ptx::dynamic_shared<uint4>();
    const int lane = threadIdx.x;
    if (lane < 8 * N) rows[lane] = p.array<uint4>(0)[lane];
    __syncwarp();
    uint32_t to[N];
    const uint4* row = &rows[lane % (8 * N)];
    if (transposed)
        ptx::load_matrices_transposed(to, row);
    else
        ptx::load_matrices(to, row);
    for (int i = 0; i < N; i++) p.array<uint32_t>(1)[N * lane + i] = to[i];
}

__global__ void round_to_tf32(Arguments p) {
    const int i = threadIdx.x;
    p.array<uint32_t>(1)[i] = ptx::to_tf32(p.array<float>(0)[i]);
}

const Registered kernels({
    {"mma float16", multiply<__half>},
    {"mma bfloat16", multiply<__nv_bfloat16>},
    {"mma float32", multiply<float>},
    {"mma exactly", multiply_exactly},
    {"ldmatrix 1", load<1, false>},
    {"ldmatrix 2", load<2, false>},
    {"ldmatrix 4", load<4, false>},
    {"ldmatrix 1 transposed", load<1, true>},
    {"ldmatrix 2 transposed", load<2, true>},
    {"ldmatrix 4 transposed", load<4, true>},
    {"to_tf32", round_to_tf32},
});

}  // namespace
