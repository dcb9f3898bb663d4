// Barriers in shared memory, for sm_90. A phase is complete when all arrivals that were agreed upon
// and all bytes that were announced have come; then the next begins. The first is 0.
#pragma once

#include "shared.h"

namespace rnn::cuda::ptx {

using Mbarrier = uint64_t;

__device__ inline void mbarrier_init(Mbarrier* m, uint32_t arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(m)), "r"(arrivals)
                 : "memory");
}
// The memory is ordinary memory again.
__device__ inline void mbarrier_invalidate(Mbarrier* m) {
    asm volatile("mbarrier.inval.shared::cta.b64 [%0];" ::"r"(shared_address(m)) : "memory");
}
// Peers and bulk copies see the mbarriers that were initialised before (and a barrier later).
__device__ inline void mbarrier_init_fence() {
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

__device__ inline void mbarrier_arrive(Mbarrier* m) {
    asm volatile("mbarrier.arrive.release.cta.shared::cta.b64 _, [%0];" ::"r"(shared_address(m))
                 : "memory");
}
// Announces bytes of copies, and arrives.
__device__ inline void mbarrier_arrive_expect(Mbarrier* m, uint32_t bytes) {
    asm volatile("mbarrier.arrive.expect_tx.release.cta.shared::cta.b64 _, [%0], %1;" ::"r"(
                     shared_address(m)),
                 "r"(bytes)
                 : "memory");
}
__device__ inline void mbarrier_expect(Mbarrier* m, uint32_t bytes) {
    asm volatile(
        "mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%0], %1;" ::"r"(shared_address(m)),
        "r"(bytes)
        : "memory");
}

// Whether the phase of this parity (its number's last bit) is complete, after a while of waiting
// that the hardware limits.
__device__ inline bool mbarrier_try_wait(const Mbarrier* m, uint32_t parity) {
    uint32_t done;
    asm volatile(
        "{\n"
        ".reg .pred p;\n"
        "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [%1], %2;\n"
        "selp.u32 %0, 1, 0, p;\n"
        "}"
        : "=r"(done)
        : "r"(shared_address(m)), "r"(parity)
        : "memory");
    return done != 0;
}

}  // namespace rnn::cuda::ptx
