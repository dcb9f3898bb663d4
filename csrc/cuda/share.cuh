// What a block, and each of its threads, has of a recurrence.
#pragma once

#include "recurrence.h"

namespace rnn::cuda {

// One block's rows and units, and where its steps lie.
struct Share {
    Sequence sequence;
    int64_t D, H;
    int d, rank;     // direction; which block of the cluster
    int64_t row;     // of the state, the group's first
    int rows;        // of the group
    int64_t unit;    // this block's first
    int64_t steps;   // of the group's first row, which has most

    __device__ Share(const Sizes& sizes, const Layout& l, const Sequence& s)
        : sequence(s),
          D(sizes.D),
          H(sizes.H),
          d(blockIdx.y),
          rank(blockIdx.x % l.cluster),
          row(int64_t(blockIdx.x / l.cluster) * l.rows),
          unit(int64_t(rank) * l.units),
          steps(0) {
        const int64_t left = sizes.B - row;
        rows = left < l.rows ? int(left) : l.rows;
        int64_t end = s.T;  // counts never increase
        while (steps < end) {
            const int64_t middle = (steps + end) / 2;
            if (count(middle) > row)
                steps = middle + 1;
            else
                end = middle;
        }
    }

    __device__ int64_t first(int64_t t) const {
        return sequence.offsets ? sequence.offsets[t] : t * sequence.B;
    }
    __device__ int64_t count(int64_t t) const {
        if (t < 0 || t >= sequence.T) return 0;
        return sequence.offsets ? sequence.offsets[t + 1] - sequence.offsets[t] : sequence.B;
    }

    // The group's k-th step. See gates.h; rnn_kernels/rows.py says the same in Python.
    __device__ Step step(int64_t k) const {
        if (d == 0)
            return {first(k), count(k), first(k - (k > 0)), k > 0 ? count(k) : 0, count(k + 1),
                    first(k), count(k), first(k + 1)};
        const int64_t t = steps - 1 - k;
        return {first(t),     count(t),     first(t + 1), count(t + 1), t > 0 ? count(t) : 0,
                first(t + 1), count(t + 1), first(t)};
    }
    // Whether a reset that lies at `flag` cuts.
    __device__ bool cut(int64_t flag) const { return sequence.resets[flag] != 0; }

    __device__ int64_t row_of(int64_t n) const { return n * D + d; }           // in (N, D)
    __device__ int64_t state(int row_of_group) const {                         // in (D, B)
        return d * sequence.B + row + row_of_group;
    }
};

// An element of a block's states. Half a warp has 8 units of two rows, one row and the other in turn:
// units lie side by side in memory, rows in sums.
struct Element {
    int row, unit;  // of the group, of the block

    Element() = default;
    __device__ Element(int index, int units)
        : row(index / 2 / units * 2 + index % 2), unit(index / 2 % units) {}
};

// The elements of one thread; none where row is negative.
template <int E>
struct Elements {
    Element of[E];

    __device__ Elements(const Share& share, int units) {
#pragma unroll
        for (int e = 0; e < E; e++) {
            of[e] = Element(threadIdx.x + e * recurrence_threads, units);
            if (of[e].row >= share.rows || share.unit + of[e].unit >= share.H) of[e].row = -1;
        }
    }
    __device__ const Element& operator[](int e) const { return of[e]; }
};

// Bytes of sums that every two rows bring this block in the backward: from each block one sum for
// each of this one's units, or one from each of the warps that share them.
__device__ inline uint32_t arriving_sums(const Layout& l, int rank) {
    constexpr int unit_bytes = 2 * sizeof(float);
    int sums = 0;
    for (int unit = rank * l.units; unit < (rank + 1) * l.units; unit += 8) {
        const int first = unit / strip_rows * l.chunks, last = first + l.chunks - 1;
        sums += last / l.per_warp - first / l.per_warp + 1;
    }
    return uint32_t(sums) * 8 * unit_bytes * l.cluster;
}

// Sums of products, as they come from a warp: pairs of rows, then the block's rows of the matrix.
struct SumsOf {
    float* values;
    int pitch, pairs;

    __device__ float* at(int slot, int row, int m) const {
        return values + ((slot * pairs + row / 2) * pitch + m) * 2 + row % 2;
    }
    __device__ float total(int slots, int row, int m) const {
        float sum = 0;
#pragma unroll 4
        for (int slot = 0; slot < slots; slot++) sum += *at(slot, row, m);
        return sum;
    }
};

}  // namespace rnn::cuda
