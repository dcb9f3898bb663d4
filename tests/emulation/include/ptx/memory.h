// Twin of csrc/cuda/ptx/memory.h.
#pragma once

#include <cuda_runtime.h>

#include "../../machine/memory.h"
#include "../../machine/sharing.h"

namespace rnn::cuda::ptx {

inline uint4 load16(const void* p) {
    emulated::check_alignment(p, 16);
    return *static_cast<const uint4*>(p);
}
inline void store16(void* p, uint4 bits) {
    emulated::check_alignment(p, 16);
    *static_cast<uint4*>(p) = bits;
}

inline uint32_t load_acquire(const uint32_t* p) {
    uint32_t value;
    emulated::load(p, sizeof(value), &value, emulated::Order::acquire);
    return value;
}
inline void store_release(uint32_t* p, uint32_t value) {
    emulated::store(p, sizeof(value), &value, emulated::Order::release);
}
inline void add_release(uint32_t* p, uint32_t value) {
    uint32_t old;
    const auto add = [](void* there, void* operand) {
        *static_cast<uint32_t*>(there) += *static_cast<uint32_t*>(operand);
        return true;
    };
    emulated::update(p, sizeof(value), add, &value, &old, emulated::Order::release);
}

inline uint64_t load_relaxed(const uint64_t* p) {
    uint64_t value;
    emulated::load(p, sizeof(value), &value, emulated::Order::relaxed);
    return value;
}
inline void store_relaxed(uint64_t* p, uint64_t value) {
    emulated::store(p, sizeof(value), &value, emulated::Order::relaxed);
}

inline uint4 load_relaxed(const uint4* p) {
    emulated::check_alignment(p, 16);
    uint32_t words[4];
    for (int i = 0; i < 4; i++)
        emulated::load(reinterpret_cast<const uint32_t*>(p) + i, sizeof(uint32_t), &words[i],
                       emulated::Order::relaxed);
    return {words[0], words[1], words[2], words[3]};
}
inline void store_relaxed(uint4* p, uint4 v) {
    emulated::check_alignment(p, 16);
    const uint32_t words[] = {v.x, v.y, v.z, v.w};
    for (int i = 0; i < 4; i++)
        emulated::store(reinterpret_cast<uint32_t*>(p) + i, sizeof(uint32_t), &words[i],
                        emulated::Order::relaxed);
}

}  // namespace rnn::cuda::ptx
