// How the blocks of a grid tell each other what they have computed: through global memory that is
// written once and read as soon as it is there. Every word is its own flag: before it is written it
// holds a value that no result has. So there is nothing to be ordered, and no fence.
#pragma once

#include <ptx/memory.h>

#include "exchange.cuh"
#include "precision.cuh"

namespace rnn::cuda {

// A NaN, or two, whose bits no conversion gives. The host fills the memory with them.
constexpr uint32_t not_yet = 0xffffffff;

__device__ inline bool has_come(const uint4& bits) {
    return bits.x != not_yet && bits.y != not_yet && bits.z != not_yet && bits.w != not_yet;
}

__device__ inline void post(void* to, uint4 bits) {
    const auto other = [](uint32_t word) { return word == not_yet ? 0x7fffffff : word; };
    ptx::store_relaxed(static_cast<uint4*>(to),
                       {other(bits.x), other(bits.y), other(bits.z), other(bits.w)});
}

// Waits for `number` pieces of 16 bytes and leaves them as factors, `to` a lane's own, 32 apart.
// `from(i)` says where the i-th is; it is zero where that is null, or where `cut`.
template <class P, class From>
__device__ inline void collect(uint4* to, int number, bool cut, const From& from) {
    constexpr int at_once = 4;
    for (int first = 0; first < number; first += at_once) {
        uint4 bits[at_once];
#pragma unroll
        for (int i = 0; i < at_once; i++) {
            const uint4* const at = first + i < number ? from(first + i) : nullptr;
            bits[i] = at ? ptx::load_relaxed(at) : uint4{};
        }
        Patience patience;
        for (;;) {
            bool missing[at_once];
#pragma unroll
            for (int i = 0; i < at_once; i++) missing[i] = !has_come(bits[i]);
            if (!missing[0] && !missing[1] && !missing[2] && !missing[3]) break;
            patience.lose();
#pragma unroll
            for (int i = 0; i < at_once; i++)
                if (missing[i]) bits[i] = ptx::load_relaxed(from(first + i));
        }
#pragma unroll
        for (int i = 0; i < at_once; i++)
            if (first + i < number) to[(first + i) * 32] = cut ? uint4{} : as_factors<P>(bits[i]);
    }
}

}  // namespace rnn::cuda
