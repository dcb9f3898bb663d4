// A block's part of a matrix that is spread over a grid. Each warp has all rows of some columns, so
// that it needs no more of the other factor than those, and can begin when they have come.
#pragma once

#include "mail.cuh"
#include "resident.cuh"

namespace rnn::cuda {

// Fragments here are of 16 rows and twice the columns: lane 4·g + q has the q-th 16 bytes of rows g
// and g + 8 in the first half of a chunk, then in the second. They lie two chunks at a time, of
// each strip in turn: what a lane has of the other factor serves all strips. `ahead`: the next of
// it is under way meanwhile.
template <class P, int held, bool ahead>
class Spread {
public:
    // `read(row, column)` gives 16 bytes of the matrix. `rest` is this block's; so is `passing`, a
    // fragment for each warp, for as long as this takes.
    template <class Read>
    __device__ Spread(const Layout& l, uint4* rest, uint4* passing, const Read& read)
        : strips_(l.strips), lane_(threadIdx.x % 32) {
        const int warp = threadIdx.x / 32, slice = l.per_warp / l.strips;
        first_ = warp * slice;
        const int left = l.chunks - first_;
        chunks_ = left < 0 ? 0 : left < slice ? left : slice;
        rest_ = rest + warp * (l.per_warp > held ? l.per_warp - held : 0) * 4 * 32 + lane_;
        const auto fragment = [&](int k, int i) {
            const int before = k / (strips_ * 2) * 2, k_of_two = k - before * strips_;
            const int n = at_once(before), strip = k_of_two / n, chunk = before + k_of_two % n;
            return read(strip * spread_strip_rows + i % 2 * 8 + lane_ / 4,
                        column() + (chunk * 2 + i / 2) * 4 * width);
        };
        // By way of shared memory, or 32 copies of `read` would be most of the kernel.
        uint4* const lanes = passing + warp * 4 * 32 + lane_;
        const int count = strips_ * chunks_;
#pragma unroll
        for (int k = 0; k < held; k++) {
#pragma unroll 1
            for (int i = 0; i < 4; i++) {
                uint4 piece = {};
                if (k < count) piece = fragment(k, i);
                lanes[i * 32] = piece;
            }
#pragma unroll
            for (int i = 0; i < 4; i++) held_[k].row[i] = lanes[i * 32];
        }
        for (int k = held; k < count; k++)
#pragma unroll 1
            for (int i = 0; i < 4; i++) {
                const uint4 piece = fragment(k, i);
                rest_[((k - held) * 4 + i) * 32] = piece;
            }
    }

    // The first that this lane takes in of row g; its other pieces follow each half a chunk.
    __device__ int column() const { return (first_ * 8 + lane_ % 4) * width; }

    // With 8 rows of the other factor, this lane's from `letters`; or from `other(piece)` where
    // these are a negative number. Calls `keep(strip, more, sums)`, with `more` where there have
    // been sums of that strip.
    template <class Other, class Keep>
    __device__ void multiply_by(const Letters& letters, const Other& other,
                                const Keep& keep) const {
        if (chunks_ == 0) return;
        Delivery next;
        if (ahead) next.order(letters, 0);
        uint4 factors[4];
        Sums sums = {};
        int before = 0, n = at_once(0), strip = 0, i = 0;
        const auto step = [&](const Fragment& a) {
            if (strip == 0 && i == 0) {
                if (!ahead) next.order(letters, before * 2);
                next.template take<P>(factors, letters, before * 2);
                if (ahead && before + n < chunks_) next.order(letters, before * 2 + 4);
                if (letters.number < 0)
#pragma unroll
                    for (int j = 0; j < 4; j++) factors[j] = other(before * 2 + j);
                __syncwarp();  // matrix instructions take whole warps
            }
            const uint4 &low = i ? factors[2] : factors[0], &high = i ? factors[3] : factors[1];
            multiply<P>(sums, a, {low, high});
            if (++i < n) return;
            i = 0;
            if (strips_ > 1 || before + n == chunks_) {
                keep(strip, strips_ > 1 && before > 0, sums);
#pragma unroll
                for (int j = 0; j < 16; j++) sums[j / 8][j / 4 % 2][j % 4] = 0;
            }
            if (++strip < strips_) return;
            strip = 0;
            before += n;
            n = at_once(before);
        };
        const int count = strips_ * chunks_;
#pragma unroll
        for (int k = 0; k < held; k++) {
            if (k >= count) break;
            step(held_[k]);
        }
        for (int k = held; k < count; k++) {
            Fragment a;
#pragma unroll
            for (int j = 0; j < 4; j++) a.row[j] = rest_[((k - held) * 4 + j) * 32];
            step(a);
        }
    }

private:
    static constexpr int width = full_width<storage_t<P>>;

    // Chunks that are taken in together, when so many have been.
    __device__ int at_once(int before) const { return chunks_ - before < 2 ? 1 : 2; }

    Fragment held_[held];
    uint4* rest_;
    int strips_, first_, chunks_, lane_;
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
