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

// What a lane is to take in: pieces of 16 bytes, each half a chunk behind the one before.
struct Letters {
    const char* from;
    int number;  // of them; more is zero
    const char* later = nullptr;
    int at_from = 1 << 30;  // pieces from `from`; the others are from `later`
    uint8_t cut = 0;        // all of it counts as zero

    __device__ const uint4* at(int i) const {
        return reinterpret_cast<const uint4*>((i < at_from ? from : later) + i * half_chunk);
    }
    // How many of them begin in so many bytes.
    static __device__ int within(int bytes) { return (bytes + half_chunk - 1) / half_chunk; }

private:
    static constexpr int half_chunk = spread_chunk_bytes / 2;
};

// Four letters under way.
class Delivery {
public:
    __device__ void order(const Letters& letters, int first) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            bits_[i] = uint4{};
            if (first + i < letters.number) bits_[i] = ptx::load_relaxed(letters.at(first + i));
        }
    }
    // Waits until they have come, as factors.
    template <class P>
    __device__ void take(uint4 (&factors)[4], const Letters& letters, int first) {
        Patience patience;
        for (;;) {
            bool missing[4];
#pragma unroll
            for (int i = 0; i < 4; i++) missing[i] = !has_come(bits_[i]);
            if (!missing[0] && !missing[1] && !missing[2] && !missing[3]) break;
#pragma unroll
            for (int i = 0; i < 4; i++)
                if (missing[i]) bits_[i] = ptx::load_relaxed(letters.at(first + i));
            patience.lose();  // while they are under way
        }
#pragma unroll
        for (int i = 0; i < 4; i++) factors[i] = letters.cut ? uint4{} : as_factors<P>(bits_[i]);
    }

private:
    uint4 bits_[4];
};

}  // namespace rnn::cuda
