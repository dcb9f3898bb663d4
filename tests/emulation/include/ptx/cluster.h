// Twin of csrc/cuda/ptx/cluster.h.
#pragma once

#include "../../machine/copies.h"
#include "mbarrier.h"

namespace rnn::cuda::ptx {

inline uint32_t cluster_rank() { return emulated::cluster_rank(); }
inline uint32_t cluster_size() { return emulated::cluster_size(); }
inline void cluster_arrive() { emulated::cluster_arrive(true); }
inline void cluster_arrive_relaxed() { emulated::cluster_arrive(false); }
inline void cluster_wait() { emulated::cluster_wait(); }

struct Peer {
    char* address;
    Peer operator+(uint32_t bytes) const { return {address + bytes}; }
};
inline Peer at_peer(const void* shared, uint32_t rank) {
    return {static_cast<char*>(emulated::peer(shared, rank))};
}
template <class T>
T* map_shared(T* shared, uint32_t rank) {
    return static_cast<T*>(emulated::peer(shared, rank));
}

inline void mbarrier_arrive(Peer m) { emulated::mbarrier_arrive(m.address, 0); }

template <class T>
void store_async(Peer to, T value, Peer m) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8 || sizeof(T) == 16);
    emulated::store_async(to.address, &value, sizeof(value), m.address);
}

}  // namespace rnn::cuda::ptx
