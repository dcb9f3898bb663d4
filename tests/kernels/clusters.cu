// Blocks that use each other's shared memory.
#include <ptx/bulk.h>

#include <type_traits>

#include "kernel.h"

using namespace rnn::cuda;

namespace {

__device__ void wait(const ptx::Mbarrier* m, int phase) {
    while (!ptx::mbarrier_try_wait(m, phase & 1)) {
    }
}

// to (blocks, 3): each block's number, its rank, the size of its cluster.
__global__ void ranks(Arguments p) {
    const int block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    int* to = p.array<int>(0) + 3 * block;
    if (threadIdx.x) return;
    to[0] = block;
    to[1] = ptx::cluster_rank();
    to[2] = ptx::cluster_size();
}

// Each thread reads what its neighbour in rank has.
__global__ void read_peer(Arguments p) {
    __shared__ int mine[64];
    const int rank = ptx::cluster_rank(), size = ptx::cluster_size(), me = threadIdx.x;
    mine[me] = p.array<int>(0)[blockIdx.x * blockDim.x + me];
    ptx::cluster_arrive();
    ptx::cluster_wait();
    const int* theirs = ptx::map_shared(mine, (rank + 1) % size);
    p.array<int>(1)[blockIdx.x * blockDim.x + me] = theirs[me];
    ptx::cluster_arrive_relaxed();  // peers stay until all have read
    ptx::cluster_wait();
}

struct Bulk {};  // in place of what one store carries

// This block's values to where each block has them, in stores of T or as one bulk copy.
template <class T>
__device__ void send(const float* from, float* to, ptx::Mbarrier* m) {
    const int size = ptx::cluster_size(), n = blockDim.x, me = threadIdx.x;
    if constexpr (std::is_same_v<T, Bulk>) {
        if (me < size)
            ptx::bulk_send(ptx::at_peer(to, me), from, n * sizeof(float), ptx::at_peer(m, me));
    } else {
        constexpr int wide = sizeof(T) / sizeof(float);
        for (int i = me * wide; i < size * n; i += n * wide) {
            T value;
            memcpy(&value, from + i % n, sizeof(T));
            ptx::store_async(ptx::at_peer(to + i % n, i / n), value, ptx::at_peer(m, i / n));
        }
    }
}

// Rounds of all to all, double buffered, with no barrier between blocks but the mbarriers of the
// receivers: who is in round r + 1 has heard that all have read what they got in round r - 1.
template <class T>
__global__ void all_to_all(Arguments p) {
    constexpr bool bulk = std::is_same_v<T, Bulk>;
    __shared__ ptx::Mbarrier arrived[2];
    const int rank = ptx::cluster_rank(), size = ptx::cluster_size(), n = blockDim.x,
              me = threadIdx.x, rounds = p.number(0);
    float* buffers = ptx::dynamic_shared<float>();  // (2, size, n), then (2, n) to send from
    float* out = buffers + 2 * size * n;
    if (me == 0) {
        for (auto& m : arrived) ptx::mbarrier_init(&m, 1);
        ptx::mbarrier_init_fence();
    }
    ptx::cluster_arrive();
    ptx::cluster_wait();
    float value = p.array<float>(0)[blockIdx.x * n + me];
    for (int round = 0; round < rounds; round++) {
        const int half = round % 2;
        float* from = out + half * n;
        from[me] = value;
        if (bulk) ptx::proxy_fence();
        if (me == 0) ptx::mbarrier_arrive_expect(&arrived[half], size * n * sizeof(float));
        __syncthreads();
        send<T>(from, &buffers[(half * size + rank) * n], &arrived[half]);
        wait(&arrived[half], round / 2);
        float sum = 0;
        for (int peer = 0; peer < size; peer++)
            sum += buffers[(half * size + peer) * n + (me + 1) % n];
        value = sum / size;
    }
    p.array<float>(1)[blockIdx.x * n + me] = value;
    ptx::cluster_arrive();  // nothing arrives at a block that has gone
    ptx::cluster_wait();
}

// The last block of a cluster goes on when all the others have arrived at its mbarrier.
__global__ void arrive_at_peer(Arguments p) {
    __shared__ ptx::Mbarrier all;
    int* theirs = p.array<int>(0);
    const int rank = ptx::cluster_rank(), last = ptx::cluster_size() - 1;
    if (threadIdx.x == 0) {
        ptx::mbarrier_init(&all, last * blockDim.x);
        ptx::mbarrier_init_fence();
    }
    ptx::cluster_arrive();
    ptx::cluster_wait();
    if (rank != last) {
        theirs[rank * blockDim.x + threadIdx.x] = rank;
        ptx::mbarrier_arrive(ptx::at_peer(&all, last));
    } else {
        wait(&all, 0);
        int sum = 0;
        for (int i = 0; i < last * int(blockDim.x); i++) sum += theirs[i];
        p.array<int>(1)[threadIdx.x] = sum;
    }
    ptx::cluster_arrive();
    ptx::cluster_wait();
}

const Registered kernels({
    {"ranks", ranks},
    {"read peer", read_peer},
    {"all to all, 4 bytes", all_to_all<uint32_t>},
    {"all to all, 8 bytes", all_to_all<uint64_t>},
    {"all to all, 16 bytes", all_to_all<uint4>},
    {"all to all, bulk", all_to_all<Bulk>},
    {"arrive at peer", arrive_at_peer},
});

}  // namespace
