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

// What a lane is to collect: pieces of 16 bytes, each half a chunk behind the one before.
struct Letters {
    const char* from;
    int number;  // of them; more is zero
    const char* later = nullptr;
    int at_from = 1 << 30;  // pieces from `from`; the others are from `later`

    __device__ const uint4* at(int i) const {
        return reinterpret_cast<const uint4*>((i < at_from ? from : later) + i * half_chunk);
    }
    // How many of them begin in so many bytes.
    static __device__ int within(int bytes) { return (bytes + half_chunk - 1) / half_chunk; }

private:
    static constexpr int half_chunk = spread_chunk_bytes / 2;
};

// Waits for n of them and leaves them as factors, or zeros where `cut`: `to` is a lane's, 32 apart.
template <class P>
__device__ inline void collect(uint4* to, int n, bool cut, const Letters& letters) {
    constexpr int at_once = 4;
    for (int first = 0; first < n; first += at_once) {
        uint4 bits[at_once];
#pragma unroll
        for (int i = 0; i < at_once; i++) {
            bits[i] = uint4{};
            if (first + i < n && first + i < letters.number)
                bits[i] = ptx::load_relaxed(letters.at(first + i));
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
                if (missing[i]) bits[i] = ptx::load_relaxed(letters.at(first + i));
        }
#pragma unroll
        for (int i = 0; i < at_once; i++)
            if (first + i < n) to[(first + i) * 32] = cut ? uint4{} : as_factors<P>(bits[i]);
    }
}

}  // namespace rnn::cuda
