// Twin of csrc/cuda/ptx/bulk.h.
#pragma once

#include "cluster.h"

namespace rnn::cuda::ptx {

inline void proxy_fence() { emulated::proxy_fence(); }
inline void bulk_load(void* shared, const void* global, uint32_t bytes, Mbarrier* m) {
    emulated::bulk_load(shared, global, bytes, m);
}
inline void bulk_send(Peer to, const void* shared, uint32_t bytes, Peer m) {
    emulated::bulk_send(to.address, shared, bytes, m.address);
}
inline void bulk_store(void* global, const void* shared, uint32_t bytes) {
    emulated::bulk_store(global, shared, bytes);
}
inline void commit_bulk() { emulated::commit_bulk(); }
template <int N>
void wait_for_bulk() {
    emulated::wait_for_bulk(N, false);
}
template <int N>
void wait_for_bulk_reads() {
    emulated::wait_for_bulk(N, true);
}

}  // namespace rnn::cuda::ptx
