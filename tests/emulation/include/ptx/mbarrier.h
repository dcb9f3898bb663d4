// Twin of csrc/cuda/ptx/mbarrier.h.
#pragma once

#include "../../machine/mbarrier.h"
#include "../../machine/sharing.h"
#include "shared.h"

namespace rnn::cuda::ptx {

using Mbarrier = uint64_t;

inline void mbarrier_init(Mbarrier* m, uint32_t arrivals) { emulated::mbarrier_init(m, arrivals); }
inline void mbarrier_invalidate(Mbarrier* m) { emulated::mbarrier_invalidate(m); }
inline void mbarrier_init_fence() { emulated::mbarrier_init_fence(); }
inline void mbarrier_arrive(Mbarrier* m) { emulated::mbarrier_arrive(m, 0); }
inline void mbarrier_arrive_expect(Mbarrier* m, uint32_t bytes) {
    emulated::mbarrier_arrive(m, bytes);
}
inline void mbarrier_expect(Mbarrier* m, uint32_t bytes) { emulated::mbarrier_expect(m, bytes); }
inline bool mbarrier_try_wait(const Mbarrier* m, uint32_t parity) {
    return emulated::mbarrier_try_wait(m, parity);
}

}  // namespace rnn::cuda::ptx
