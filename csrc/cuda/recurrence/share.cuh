// What a block, and each of its threads, has of a recurrence.
#pragma once

#include "recurrence.h"

namespace rnn::cuda {

// One block's rows and units.
struct Share {
    Sequence sequence;
    int D, H, d;  // d: its direction
    int rank;     // which block of the team
    int row;      // the group's first, of the state
    int rows;     // of the group
    int unit;     // this block's first
    int steps;    // of the group's first row, which has most

    __device__ Share(const Sizes& sizes, const Layout& l, const Sequence& s)
        : sequence(s),
          D(sizes.D),
          H(int(sizes.H)),
          d(int(blockIdx.y)),
          rank(int(blockIdx.x % unsigned(l.cluster))),
          row(int(blockIdx.x / unsigned(l.cluster)) * l.rows),
          unit(rank * l.units),
          steps(0) {
        const int left = int(sizes.B) - row;
        rows = left < l.rows ? left : l.rows;
        int end = int(s.T);  // rows of a step never increase
        while (steps < end) {
            const int middle = steps + (end - steps) / 2;
            if (count(middle) > row)
                steps = middle + 1;
            else
                end = middle;
        }
    }

    // Of all rows, at time t.
    __device__ int count(int t) const {
        if (sequence.table) return int(sequence.table[sequence.T + 2 + t]);
        return t >= 0 && t < sequence.T ? int(sequence.B) : 0;
    }
    __device__ int64_t first(int t) const {
        return sequence.table ? sequence.table[t] : int64_t(t) * sequence.B;
    }
    // Of the group's rows.
    __device__ int clip(int count) const {
        const int there = count - row;
        return there < 0 ? 0 : there < rows ? there : rows;
    }
    // Whether a reset cuts the initial state off from a row of the group.
    __device__ bool cut_at_start(int of_group) const {
        return sequence.resets && d == 0 && of_group < clip(count(0)) &&
               sequence.resets[row + of_group];
    }
    // The group's first row in (D, B).
    __device__ int64_t state() const { return d * sequence.B + row; }
};

// A group's way through time. What it reads is read a step before it is looked at.
class Walk {
public:
    __device__ Walk(const Share& share, int t, bool forth)
        : time(t),
          first(share.first(t)),
          here_(share.count(t)),
          before_(share.count(t - 1)),
          after_(share.count(t + 1)),
          forth_(forth) {
        read_on(share);
    }
    // Returns how many of all rows it has moved on, or back if negative.
    __device__ int move(const Share& share) {
        const int moved = forth_ ? here_ : -before_;
        time += forth_ ? 1 : -1;
        first += moved;
        (forth_ ? before_ : after_) = here_;
        here_ = forth_ ? after_ : before_;
        (forth_ ? after_ : before_) = coming_;
        read_on(share);
        return moved;
    }

    // Of the group's rows: those of this step; those that come from another step, where the others
    // start from the initial state; those that go on to another, where the others end.
    __device__ int rows(const Share& s) const { return s.clip(here_); }
    __device__ int arrive(const Share& s) const {
        return s.d ? s.clip(after_) : time > 0 ? s.clip(here_) : 0;
    }
    __device__ int leave(const Share& s) const {
        return s.d ? (time > 0 ? s.clip(here_) : 0) : s.clip(after_);
    }
    // Rows between this step and the one before that may have been cut.
    __device__ int cuts(const Share& s) const { return s.clip(s.d ? after_ : here_); }
    // How many of all rows the step before lies away.
    __device__ int back(const Share& s) const { return s.d ? here_ : -before_; }
    // The group's first reset flag between this step and the one before, or the next one.
    __device__ const uint8_t* cut_in(const Share& s) const {
        return s.sequence.resets + first + s.row + (s.d ? here_ : 0);
    }
    __device__ const uint8_t* cut_out(const Share& s) const {
        return s.sequence.resets + first + s.row + (s.d ? 0 : here_);
    }

    int time;
    int64_t first;  // of all rows of this step

private:
    __device__ void read_on(const Share& share) {
        const int t = time + (forth_ ? 2 : -2);
        coming_ = t >= 0 && t < share.sequence.T ? share.count(t) : 0;
    }

    int here_, before_, after_, coming_;
    bool forth_;
};

// Where a block's share of a step begins in arrays of so many units for each row of all.
struct Start {
    int64_t at;  // elements
    int pitch;

    __device__ Start(const Share& s, int64_t first, int per_row)
        : at((first + s.row) * (s.D * per_row) + s.d * per_row + s.unit), pitch(s.D * per_row) {}
    __device__ void move(int rows) { at += int64_t(rows) * pitch; }
    template <class T>
    __device__ T* in(void* array) const {
        return static_cast<T*>(array) + at;
    }
    template <class T>
    __device__ const T* in(const void* array) const {
        return static_cast<const T*>(array) + at;
    }
};

// An element of a block's states. Half a warp has 8 units of two rows, one row and the other in
// turn: units lie side by side in memory, rows in sums.
struct Element {
    short row, unit;  // of the group, of the block; two to a register

    Element() = default;
    __device__ Element(int index, int units)
        : row(short(index / 2 / units * 2 + index % 2)), unit(short(index / 2 % units)) {}
};

// The elements of one thread; none where row is negative.
template <int E>
struct Elements {
    Element of[E];

    __device__ Elements(const Share& share, int units) {
#pragma unroll
        for (int e = 0; e < E; e++) {
            of[e] = Element(int(threadIdx.x) + e * recurrence_threads, units);
            if (of[e].row >= share.rows || share.unit + of[e].unit >= share.H) of[e].row = -1;
        }
    }
    __device__ const Element& operator[](int e) const { return of[e]; }
};

// A thread's elements on their way through time.
template <Cell C, int E>
class Units {
public:
    const Elements<E> mine;
    Walk walk;

protected:
    // Begins at time t.
    __device__ Units(const Share& share, const Layout& l, int t, bool forth)
        : mine(share, l.units),
          walk(share, t, forth),
          share_(share),
          one_(share, walk.first, share.H),
          gates_(share, walk.first, C::gates * share.H),
          others_(share, walk.first, C::saved * share.H) {}
    // On to the next step.
    __device__ void advance() {
        const int moved = walk.move(share_);
        one_.move(moved);
        gates_.move(moved);
        others_.move(moved);
    }
    // Of what is saved.
    __device__ const Start& kept() const { return C::saved == C::gates ? gates_ : others_; }
    // In (D, B, H).
    __device__ int64_t state(const Element& at) const {
        return (share_.state() + at.row) * share_.H + share_.unit + at.unit;
    }

    const Share& share_;
    Start one_, gates_;  // of a value for each unit, of one for each of its gates

private:
    Start others_;
};

// A warp's 32 elements as pieces of 16 bytes, each some units of one row side by side.
template <class S>
struct Pieces {
    static constexpr int width = 16 / int(sizeof(S)), number = 32 / width;

    // Where this lane's element goes in the warp's stage.
    static __device__ int place() {
        const int lane = int(threadIdx.x % 32);
        return lane / 16 * 16 + lane % 2 * 8 + lane % 16 / 2;
    }
    // The first element of piece `lane % number` of the stage.
    static __device__ Element first(int e, int units) {
        const int lane = int(threadIdx.x % 32), at = lane % number * width;
        return Element(int(threadIdx.x) - lane + e * recurrence_threads + at / 16 * 16 +
                           at / 8 % 2 + at % 8 * 2,
                       units);
    }
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
    return uint32_t(sums) * 8 * unit_bytes * uint32_t(l.cluster);
}

// Sums of products, as they come from a warp: pairs of rows, then the block's rows of the matrix.
struct SumsOf {
    float* values;
    int pitch, pairs;

    __device__ float* at(int slot, int row, int m) const {
        return values + ((slot * pairs + row / 2) * pitch + m) * 2 + row % 2;
    }
    __device__ int slot_size() const { return pairs * pitch * 2; }
};

}  // namespace rnn::cuda
