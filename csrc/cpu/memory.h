// Memory for the length of a call, kept by the calling thread for its next one.
//
// From the system it would come page by page, a fault each: on a virtual machine 1.5 µs for 4 KiB,
// which made a third of some training steps.
#pragma once

#include <cstddef>

namespace rnn::cpu {

// Aligned to a cache line, uninitialised. Throws std::bad_alloc.
void* take(std::size_t bytes);

// Hands back what `take` gave to this thread.
void give(void* data) noexcept;

}  // namespace rnn::cpu
