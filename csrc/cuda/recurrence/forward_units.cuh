// Forward: what a thread does with the units of rows that are its own, whoever makes the sums.
#pragma once

#include "precision.cuh"
#include "share.cuh"

namespace rnn::cuda {

template <Cell C, class P, int E>
class ForwardUnits : public Units<C, E> {
    using Base = Units<C, E>;
    using Base::share_, Base::one_, Base::gates_, Base::kept, Base::state;
    using S = storage_t<P>;
    using Value = typename P::Value;
    static constexpr int G = C::gates, K = C::saved;

public:
    using Base::mine, Base::walk;

    // Initial states; those that a reset cuts off are zero.
    __device__ ForwardUnits(const RecurrenceForward& p, const Share& share)
        : Base(share, p.layout, share.d && share.steps ? share.steps - 1 : 0, share.d == 0), p_(p) {
#pragma unroll
        for (int e = 0; e < E; e++) {
            const Element at = mine[e];
            h[e] = 0, c_[e] = 0;
            if (at.row < 0 || share.cut_at_start(at.row)) continue;
            h[e] = widen(static_cast<const S*>(p.h0)[state(at)]);
            if constexpr (C::has_c) c_[e] = widen(static_cast<const S*>(p.c0)[state(at)]);
        }
        if (share.steps > 0) load();
    }

    // The recurrent biases of the block's units, (G, units).
    __device__ void load_bias(float* bias) const {
        const int units = p_.layout.units;
        for (int i = int(threadIdx.x); i < G * units; i += recurrence_threads) {
            const int unit = share_.unit + i % units;
            const int64_t at = int64_t(share_.d * G + i / units) * share_.H + unit;
            bias[i] = p_.b_hh && unit < share_.H ? widen(static_cast<const S*>(p_.b_hh)[at]) : 0;
        }
    }

    // The cell, and what is kept of this step; returns h. `part`: the first of the `slots` partial
    // sums of the first gate; `at_once` of the others are read side by side. `posted`: h goes to y
    // otherwise.
    template <int at_once>
    __device__ S step(int e, const float* part, int slots, int slot_size, const float* bias,
                      bool posted = false) {
        const Element at = mine[e];
        const int units = p_.layout.units, H = share_.H, row = at.row * share_.D;
        Value x[G], gh[G], s[K];
#pragma unroll
        for (int g = 0; g < G; g++) {
            x[g] = widen(in_.x[e][g]);
            gh[g] = part[g * units * 2] + bias[g * units + at.unit];
        }
#pragma unroll at_once
        for (int slot = 1; slot < slots; slot++) {
            part += slot_size;
#pragma unroll
            for (int g = 0; g < G; g++) gh[g] = gh[g] + part[g * units * 2];
        }
        S rounded;
        narrow(plain(C::template forward<Value>(x, gh, h[e], c_[e], s)), rounded);
        h[e] = widen(rounded);
        if (!posted) one_.template in<S>(p_.y)[row * H + at.unit] = rounded;
        if (p_.saved) {
#pragma unroll
            for (int i = 0; i < K; i++)
                narrow(plain(s[i]), kept().template in<S>(p_.saved)[(row * K + i) * H + at.unit]);
        }
        if constexpr (C::has_c)
            if (p_.c_all) one_.template in<float>(p_.c_all)[row * H + at.unit] = plain(c_[e]);
        if (in_.cut[e]) h[e] = 0, c_[e] = 0;
        return rounded;
    }

    // On to the next step.
    __device__ void move() {
        Base::advance();
        load();
    }

    __device__ void finish() const {
#pragma unroll
        for (int e = 0; e < E; e++) {
            const Element at = mine[e];
            if (at.row < 0) continue;
            narrow(h[e], static_cast<S*>(p_.h_n)[state(at)]);
            if constexpr (C::has_c) narrow(plain(c_[e]), static_cast<S*>(p_.c_n)[state(at)]);
        }
    }

    float h[E];  // as it goes on to the next step

private:
    __device__ void load() {
        const int rows = walk.rows(share_), leave = walk.leave(share_), H = share_.H;
        const S* const gx = gates_.template in<S>(p_.gx);
#pragma unroll
        for (int e = 0; e < E; e++) {
            const Element at = mine[e];
            in_.cut[e] = 0;
            if (at.row < 0 || at.row >= rows) continue;
#pragma unroll
            for (int g = 0; g < G; g++) in_.x[e][g] = gx[(at.row * share_.D * G + g) * H + at.unit];
            if (share_.sequence.resets && at.row < leave) in_.cut[e] = walk.cut_out(share_)[at.row];
        }
    }

    const RecurrenceForward& p_;
    Value c_[E];
    // What a step takes in, as it lies in memory: loaded a step ahead, and not touched until then,
    // for that would wait for it.
    struct {
        S x[E][G];
        uint8_t cut[E];  // between this step and the next
    } in_;
};

}  // namespace rnn::cuda
