// The barrier objects of PTX in shared memory: arrivals and bytes of copies, counted by phase.
#pragma once

#include <cstdint>

#include "clock.h"
#include "memory.h"

namespace emulated {

void mbarrier_init(void* address, unsigned count);
void mbarrier_invalidate(void* address);
// Peers and bulk copies see the mbarriers that the thread has initialised.
void mbarrier_init_fence();
// One arrival, perhaps a peer's, that first announces bytes.
void mbarrier_arrive(void* address, unsigned bytes);
void mbarrier_expect(void* address, unsigned bytes);
// Whether the phase of this parity is complete. Waits a while if it is not, as long as others can
// go on.
bool mbarrier_try_wait(const void* address, unsigned parity);

// For copies: what they are known as, from their start to when their bytes have landed.
Access mbarrier_copy(const void* address, bool async_proxy);
// Who starts a copy, where, and what that thread knows then.
struct Start {
    Knowledge known = {};
    Own own = {};
    const void* site = nullptr;
    Block* source = nullptr;  // whose shared memory it reads, if any
};
void mbarrier_landed(const void* address, unsigned bytes, uint32_t landing, const Start& start);
// Those between two addresses at home.
void forget_mbarriers(uintptr_t begin, uintptr_t end);

}  // namespace emulated
