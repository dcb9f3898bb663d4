// Twin of csrc/cuda/ptx/copy.h.
#pragma once

#include "../../machine/copies.h"
#include "shared.h"

namespace rnn::cuda::ptx {

template <int bytes>
void copy_async(void* shared, const void* global, int read = bytes) {
    emulated::copy_async(shared, global, bytes, unsigned(read));
}
inline void commit_copies() { emulated::commit_copies(); }
template <int N>
void wait_for_copies() {
    emulated::wait_for_copies(N);
}

}  // namespace rnn::cuda::ptx
