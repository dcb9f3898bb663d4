// A block's part of a matrix that is spread over a grid. Each warp has all rows of some columns, so
// that it needs no more of the other factor than those, and can begin when they have come.
#pragma once

#include "resident.cuh"

namespace rnn::cuda {

// Fragments here are of 16 rows and twice the columns: lane 4·g + q has the q-th 16 bytes of rows g
// and g + 8 in the first half of a chunk, then in the second.
template <class P, int held>
class Spread {
public:
    // `read(row, column)` gives 16 bytes of the matrix. `rest`, `factors` and `passing` are this
    // block's: the second for the other factor, the third, as long as this takes, may be the same.
    template <class Read>
    __device__ Spread(const Layout& l, uint4* rest, uint4* factors, uint4* passing,
                      const Read& read)
        : strips_(l.strips), part_(l.part), lane_(threadIdx.x % 32) {
        constexpr int width = full_width<storage_t<P>>;
        constexpr int half_chunk = spread_chunk_bytes / 2 / int(sizeof(storage_t<P>));
        const int warp = threadIdx.x / 32, slice = l.per_warp / l.strips;
        first_ = warp * slice;
        const int left = l.chunks - first_;
        chunks_ = left < 0 ? 0 : left < slice ? left : slice;
        rest_ = rest + warp * (l.per_warp > held ? l.per_warp - held : 0) * 4 * 32 + lane_;
        factors_ = factors + warp * l.part * 2 * 32 + lane_;
        const auto fragment = [&](int k, int i) {
            const int before = k / (strips_ * part_) * part_, k_of_part = k - before * strips_;
            const int n = part_of(before), strip = k_of_part / n, chunk = before + k_of_part % n;
            return read(strip * spread_strip_rows + i % 2 * 8 + lane_ / 4,
                        ((first_ + chunk) * 2 + i / 2) * half_chunk + lane_ % 4 * width);
        };
        // By way of shared memory, or 32 copies of `read` would be most of the kernel.
        uint4* const lanes = passing + warp * 4 * 32 + lane_;
        const int count = strips_ * chunks_;
#pragma unroll
        for (int k = 0; k < held; k++) {
#pragma unroll 1
            for (int i = 0; i < 4; i++) lanes[i * 32] = k < count ? fragment(k, i) : uint4{};
#pragma unroll
            for (int i = 0; i < 4; i++) held_[k].row[i] = lanes[i * 32];
        }
        for (int k = held; k < count; k++)
#pragma unroll 1
            for (int i = 0; i < 4; i++) rest_[((k - held) * 4 + i) * 32] = fragment(k, i);
    }

    // With 8 rows of the other factor. Calls `receive(chunk, n, to)`, which leaves 16 bytes of each
    // half of n chunks for this lane, 32 apart: the q-th of row g. Then `keep(strip, more, sums)`
    // for each strip, with `more` where there have been sums of it.
    template <class Receive, class Keep>
    __device__ void multiply_by(const Receive& receive, const Keep& keep) const {
        if (chunks_ == 0) return;
        Sums sums = {};
        int before = 0, n = part_of(0), strip = 0, chunk = 0;
        const auto begin = [&] {
            receive(first_ + before, n, factors_);
            __syncwarp();  // matrix instructions take whole warps
        };
        const auto step = [&](const Fragment& a) {
            multiply<P>(sums, a, {factors_[chunk * 64], factors_[chunk * 64 + 32]});
            if (++chunk < n) return;
            keep(strip, before > 0, sums);
            chunk = 0;
            strip++;
#pragma unroll
            for (int i = 0; i < 16; i++) sums[i / 8][i / 4 % 2][i % 4] = 0;
        };
        begin();
        // Those in registers are of the first part.
        const int count = strips_ * n;
#pragma unroll
        for (int k = 0; k < held; k++) {
            if (k >= count) break;
            step(held_[k]);
        }
        for (int k = held; before < chunks_;) {
            for (; strip < strips_; k++) {
                Fragment a;
#pragma unroll
                for (int i = 0; i < 4; i++) a.row[i] = rest_[((k - held) * 4 + i) * 32];
                step(a);
            }
            before += n;
            if (before == chunks_) break;
            n = part_of(before);
            strip = 0;
            begin();
        }
    }

private:
    // Chunks received at once, when so many have been.
    __device__ int part_of(int before) const {
        return chunks_ - before < part_ ? chunks_ - before : part_;
    }

    Fragment held_[held];
    uint4 *rest_, *factors_;
    int strips_, part_, first_, chunks_, lane_;
};

// What a lane has of the i-th 8 rows of a strip, for two rows of the other factor.
__device__ inline float2 of_spread(const Sums& sums, int i) {
    float2 pair = {};
#pragma unroll
    for (int chain = 0; chain < 4; chain++) {
        pair.x += sums[chain / 2][chain % 2][i * 2];
        pair.y += sums[chain / 2][chain % 2][i * 2 + 1];
    }
    return pair;
}

// This warp's sums of a strip and 8 rows, into its slot; to those that are there if `more`.
__device__ inline void keep_sums(const SumsOf& sums, int strip, bool more, const Sums& found) {
    const int lane = int(threadIdx.x % 32);
    float* const to =
        sums.at(int(threadIdx.x / 32), lane % 4 * 2, strip * spread_strip_rows + lane / 4);
#pragma unroll
    for (int i = 0; i < 2; i++) {
        float2& pair = *reinterpret_cast<float2*>(to + i * 16);
        float2 sum = of_spread(found, i);
        if (more) sum = {pair.x + sum.x, pair.y + sum.y};
        pair = sum;
    }
}

}  // namespace rnn::cuda
