// Bulk copies, for sm_90: one thread starts a copy of any multiple of 16 bytes between addresses
// that are multiples of 16. They go through the async proxy: what threads wrote is seen by them
// behind a proxy_fence(), and freshly initialised mbarriers behind an mbarrier_init_fence().
#pragma once

#include "cluster.h"

namespace rnn::cuda::ptx {

__device__ inline void proxy_fence() { asm volatile("fence.proxy.async;" ::: "memory"); }

// Global to shared memory. Its bytes are counted at an mbarrier of this block.
__device__ inline void bulk_load(void* shared, const void* global, uint32_t bytes, Mbarrier* m) {
    asm volatile(
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes "
        "[%0], [%1], %2, [%3];" ::"r"(shared_address(shared)),
        "l"(global), "r"(bytes), "r"(shared_address(m))
        : "memory");
}
// Shared memory to that of a peer. Its bytes are counted at an mbarrier of the peer.
__device__ inline void bulk_send(Peer to, const void* shared, uint32_t bytes, Peer m) {
    asm volatile(
        "cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes "
        "[%0], [%1], %2, [%3];" ::"r"(to.address),
        "r"(shared_address(shared)), "r"(bytes), "r"(m.address)
        : "memory");
}
// Shared to global memory, in groups of this thread.
__device__ inline void bulk_store(void* global, const void* shared, uint32_t bytes) {
    asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(global),
                 "r"(shared_address(shared)), "r"(bytes)
                 : "memory");
}
__device__ inline void commit_bulk() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
// Until at most N groups are under way.
template <int N>
__device__ void wait_for_bulk() {
    asm volatile("cp.async.bulk.wait_group %0;" ::"n"(N) : "memory");
}
// Until at most N groups still read shared memory.
template <int N>
__device__ void wait_for_bulk_reads() {
    asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(N) : "memory");
}

}  // namespace rnn::cuda::ptx
