// Blocks of a cluster and each other's shared memory, for sm_90.
#pragma once

#include "mbarrier.h"

namespace rnn::cuda::ptx {

__device__ inline uint32_t cluster_rank() {
    uint32_t rank;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}
__device__ inline uint32_t cluster_size() {
    uint32_t size;
    asm volatile("mov.u32 %0, %%cluster_nctarank;" : "=r"(size));
    return size;
}

// The barrier of all threads of a cluster, in two halves. Before a block touches a peer's memory
// both must have started, and none may exit while others touch its own. (Blocks that have waited
// for all that was sent to them need no barrier at the end.)
__device__ inline void cluster_arrive() {
    asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
}
// Orders no memory by itself, but what a fence before it has released.
__device__ inline void cluster_arrive_relaxed() {
    asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
}
__device__ inline void cluster_wait() {
    asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}

// A place in a peer's shared memory.
struct Peer {
    uint32_t address;
    __device__ Peer operator+(uint32_t bytes) const { return {address + bytes}; }
};

// Where the block of that rank has what this one has at `shared`.
__device__ inline Peer at_peer(const void* shared, uint32_t rank) {
    Peer peer;
    asm("mapa.shared::cluster.u32 %0, %1, %2;"
        : "=r"(peer.address)
        : "r"(shared_address(shared)), "r"(rank));
    return peer;
}
// The same, for ordinary loads and stores.
template <class T>
__device__ T* map_shared(T* shared, uint32_t rank) {
    uint64_t address;
    asm("mapa.u64 %0, %1, %2;" : "=l"(address) : "l"(shared), "r"(rank));
    return reinterpret_cast<T*>(address);
}

__device__ inline void mbarrier_arrive(Peer m) {
    asm volatile("mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%0];" ::"r"(m.address)
                 : "memory");
}

// A store that runs beside its thread and counts its bytes at an mbarrier of the same peer.
__device__ inline void store_async(Peer to, uint32_t value, Peer m) {
    asm volatile(
        "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.b32 [%0], %1, [%2];" ::"r"(
            to.address),
        "r"(value), "r"(m.address)
        : "memory");
}
__device__ inline void store_async(Peer to, uint64_t value, Peer m) {
    asm volatile(
        "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.b64 [%0], %1, [%2];" ::"r"(
            to.address),
        "l"(value), "r"(m.address)
        : "memory");
}
__device__ inline void store_async(Peer to, uint4 value, Peer m) {
    asm volatile(
        "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 "
        "[%0], {%1, %2, %3, %4}, [%5];" ::"r"(to.address),
        "r"(value.x), "r"(value.y), "r"(value.z), "r"(value.w), "r"(m.address)
        : "memory");
}

}  // namespace rnn::cuda::ptx
