// A matrix that stays on the chip, and its product with rows that change at every step.
#pragma once

#include <ptx/shared.h>

#include "../plan/plan.h"
#include "precision.cuh"

namespace rnn::cuda {

// A strip's chunk in the lanes of a warp: lane 4·g + q has the q-th 16 bytes of rows g, g + 8,
// g + 16 and g + 24. The matrix unit sums over the columns of a chunk in an order of its own, which
// is as good as any other as long as the other factor is read the same way.
struct Fragment {
    uint4 row[4];
};

// Sums of a strip and 8 rows of the other factor: two tiles of 16 x 8, each in two chains.
using Sums = float[2][2][4];

// What a lane has of the i-th 8 rows of the strip, for two rows of the other factor.
__device__ inline float2 of_two_rows(const Sums& sums, int i) {
    const auto& [one, other] = sums[i / 2];
    const int half = i % 2 * 2;
    return {one[half] + other[half], one[half + 1] + other[half + 1]};
}

// Both halves of a fragment, each with 16 bytes of the other factor.
template <class P>
__device__ inline void multiply(Sums& sums, const Fragment& a, const uint4 (&b)[2]) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const uint4 &low = a.row[2 * i], &high = a.row[2 * i + 1];
        accumulate<P>(sums[i][0], {low.x, high.x, low.y, high.y}, {b[i].x, b[i].y});
        accumulate<P>(sums[i][1], {low.z, high.z, low.w, high.w}, {b[i].z, b[i].w});
    }
}

// 16 bytes of a matrix as factors of a product; those beyond `valid` elements are zero.
template <class P, class S = storage_t<P>>
__device__ inline uint4 read_factors(const S* from, int64_t valid, bool aligned) {
    constexpr int width = full_width<S>;
    if (valid >= width && aligned) return as_factors<P>(ptx::load16(from));
    S part[width];
#pragma unroll
    for (int i = 0; i < width; i++) {
        narrow(0.0f, part[i]);
        if (i < valid) part[i] = from[i];
    }
    uint4 bits;
    memcpy(&bits, part, sizeof(bits));
    return as_factors<P>(bits);
}

// One warp's fragments: the first in registers, the rest in shared memory.
template <class P, int held>
class Resident {
public:
    // `read(row, column)` gives 16 bytes of the matrix. `rest` is this block's; so is `passing`, a
    // fragment for each warp, for as long as this takes.
    template <class Read>
    __device__ Resident(const Layout& l, uint4* rest, uint4* passing, const Read& read)
        : chunks_(l.chunks), lane_(threadIdx.x % 32) {
        constexpr int width = full_width<storage_t<P>>;
        const int warp = threadIdx.x / 32, first = warp * l.per_warp;
        const int left = l.strips * l.chunks - first;
        count_ = left < l.per_warp ? left : l.per_warp;
        strip_ = first / l.chunks;
        chunk_ = first % l.chunks;
        slot_ = warp - strip_ * l.chunks / l.per_warp;
        rest_ = rest + warp * (l.per_warp > held ? l.per_warp - held : 0) * 4 * 32 + lane_;
        const auto fragment = [&](int k, int i) {
            const int at = chunk_ + k, strip = strip_ + at / l.chunks, chunk = at % l.chunks;
            return read(strip * strip_rows + i * 8 + lane_ / 4,
                        chunk * (chunk_bytes / int(sizeof(storage_t<P>))) + lane_ % 4 * width);
        };
        // By way of shared memory, or 32 copies of `read` would be most of the kernel.
        uint4* const lanes = passing + warp * 4 * 32 + lane_;
#pragma unroll
        for (int k = 0; k < held; k++) {
#pragma unroll 1
            for (int i = 0; i < 4; i++) {
                uint4 piece = {};
                if (k < count_) piece = fragment(k, i);
                lanes[i * 32] = piece;
            }
#pragma unroll
            for (int i = 0; i < 4; i++) held_[k].row[i] = lanes[i * 32];
        }
        for (int k = held; k < count_; k++)
#pragma unroll 1
            for (int i = 0; i < 4; i++) {
                const uint4 piece = fragment(k, i);
                rest_[((k - held) * 4 + i) * 32] = piece;
            }
    }

    // With up to 8 rows of `operand`, `pitch` bytes apart; sums of any beyond `rows` mean nothing.
    // Calls `keep(strip, slot, sums)` for each strip.
    template <class Keep>
    __device__ void multiply_by(const char* operand, int pitch, int rows, const Keep& keep) const {
        if (count_ <= 0) return;
        const int g = lane_ / 4;
        const char* row = operand + (g < rows ? g : rows - 1) * pitch + lane_ % 4 * 16;
        const auto read = [&](int chunk) {
            return *reinterpret_cast<const uint4*>(row + chunk * chunk_bytes);
        };
        Sums sums = {};
        int strip = strip_, chunk = chunk_, slot = slot_;
        uint4 next = read(chunk);
        const auto step = [&](const Fragment& a, bool last) {
            const uint4 b = next;
            chunk++;
            const bool whole = chunk == chunks_;
            if (whole) chunk = 0;
            next = read(chunk);  // before the product, which takes as long
            multiply<P>(sums, a, {b, b});
            if (!whole && !last) return;
            keep(strip, slot, sums);
            strip++;
            slot = 0;
#pragma unroll
            for (int i = 0; i < 16; i++) sums[i / 8][i / 4 % 2][i % 4] = 0;
        };
#pragma unroll
        for (int k = 0; k < held; k++) {
            if (k >= count_) break;
            step(held_[k], k + 1 == count_);
        }
        for (int k = held; k < count_; k++) {
            Fragment a;
#pragma unroll
            for (int i = 0; i < 4; i++) a.row[i] = rest_[((k - held) * 4 + i) * 32];
            step(a, k + 1 == count_);
        }
    }

private:
    Fragment held_[held];
    uint4* rest_;
    int count_, strip_, chunk_, slot_, chunks_, lane_;
};

}  // namespace rnn::cuda
