// Backward: what a thread does with the units of rows that are its own, whoever makes the sums.
#pragma once

#include "precision.cuh"
#include "share.cuh"

namespace rnn::cuda {

template <Cell C, class P, int E>
class BackwardUnits : public Units<C, E> {
    using Base = Units<C, E>;
    using Base::share_, Base::one_, Base::gates_, Base::kept, Base::state;
    using S = storage_t<P>;
    using Value = typename P::Value;
    static constexpr int G = C::gates, K = C::saved;

public:
    using Base::mine, Base::walk;

    // Gradients of the final states wait for their row's last step.
    __device__ BackwardUnits(const RecurrenceBackward& p, const Share& share)
        : Base(share, p.layout, share.d || !share.steps ? 0 : share.steps - 1, share.d == 1),
          p_(p) {
#pragma unroll
        for (int e = 0; e < E; e++) {
            const Element at = mine[e];
            direct_[e] = 0, dc_[e] = 0;
            if (at.row < 0) continue;
            if (p.dh_n) direct_[e] = widen(static_cast<const S*>(p.dh_n)[state(at)]);
            if constexpr (C::has_c)
                if (p.dc_n) dc_[e] = widen(static_cast<const S*>(p.dc_n)[state(at)]);
        }
        if (share.steps > 0) load();
    }

    // The gates' gradients of this step, those of W_hh·h in r; `come`: what its product brought
    // from the step before. `posted`: those that are products' factors go out otherwise.
    __device__ void step(int e, float come, Value (&r)[G], bool posted = false) {
        const Element at = mine[e];
        const int H = share_.H;
        float dh = direct_[e] + come;
        direct_[e] = dh;
#pragma unroll
        for (int g = 0; g < G; g++) r[g] = 0;
        if (at.row >= walk.rows(share_)) return;
        const int row = at.row * share_.D, here = row * H + at.unit;
        Value x[G], s[K];
        float h = 0, c_before = 0;
#pragma unroll
        for (int i = 0; i < K; i++) s[i] = widen(in_.saved[e][i]);
        if (!in_.cut_in[e]) {
            if (C::mixes || p_.h_before) h = widen(in_.h[e]);
            c_before = in_.c_before[e];
        }
        if (in_.cut_out[e]) dh = 0, dc_[e] = 0;
        if (p_.dy) dh += widen(in_.dy[e]);
        if constexpr (C::has_c)
            if (p_.dc_all) dc_[e] = dc_[e] + one_.template in<float>(p_.dc_all)[here];
        direct_[e] = plain(C::template backward<Value>(s, h, c_before, in_.c[e], dh, dc_[e], x, r));
#pragma unroll
        for (int g = 0; g < G; g++)
            if (!posted || (C::splits && g == G - 1))
                narrow(plain(x[g]), gates_.template in<S>(p_.dgx)[(row * G + g) * H + at.unit]);
        if constexpr (C::splits)
            if (p_.dgh_last && !posted)
                narrow(plain(r[G - 1]), one_.template in<S>(p_.dgh_last)[here]);
        if (p_.h_before) narrow(h, one_.template in<S>(p_.h_before)[here]);
    }

    // On to the next step.
    __device__ void move() {
        Base::advance();
        load();
    }

    // The initial state's gradients; `come` as in step.
    __device__ void finish(int e, float come) {
        const Element at = mine[e];
        if (at.row < 0) return;
        float dh = direct_[e] + come;
        if (share_.cut_at_start(at.row)) dh = 0, dc_[e] = 0;
        narrow(dh, static_cast<S*>(p_.dh0)[state(at)]);
        if constexpr (C::has_c) narrow(plain(dc_[e]), static_cast<S*>(p_.dc0)[state(at)]);
    }

private:
    __device__ void load() {
        const int rows = walk.rows(share_), arrive = walk.arrive(share_);
        const int leave = walk.leave(share_), H = share_.H;
        const int64_t back = int64_t(walk.back(share_)) * share_.D * H;
#pragma unroll
        for (int e = 0; e < E; e++) {
            const Element at = mine[e];
            in_.cut_in[e] = in_.cut_out[e] = 0;
            if (at.row < 0 || at.row >= rows) continue;
            const int row = at.row * share_.D, here = row * H + at.unit;
#pragma unroll
            for (int i = 0; i < K; i++)
                in_.saved[e][i] = kept().template in<S>(p_.saved)[(row * K + i) * H + at.unit];
            if (p_.dy) in_.dy[e] = one_.template in<S>(p_.dy)[here];
            if constexpr (C::has_c) in_.c[e] = one_.template in<float>(p_.c_all)[here];
            if (at.row < arrive) {
                if (C::mixes || p_.h_before) in_.h[e] = one_.template in<S>(p_.y)[here + back];
                if constexpr (C::has_c)
                    in_.c_before[e] = one_.template in<float>(p_.c_all)[here + back];
            } else {
                if (C::mixes || p_.h_before) in_.h[e] = static_cast<const S*>(p_.h0)[state(at)];
                if constexpr (C::has_c)
                    in_.c_before[e] = widen(static_cast<const S*>(p_.c0)[state(at)]);
            }
            if (share_.sequence.resets) {
                if (at.row < walk.cuts(share_)) in_.cut_in[e] = walk.cut_in(share_)[at.row];
                if (at.row < leave) in_.cut_out[e] = walk.cut_out(share_)[at.row];
            }
        }
    }

    const RecurrenceBackward& p_;
    float direct_[E];  // gradient of the hidden state, less what its product brings
    Value dc_[E];
    // What a step takes in, as it lies in memory: loaded a step ahead, and not touched until then,
    // for that would wait for it.
    struct {
        S saved[E][K], dy[E], h[E];  // h: before the step
        float c[E], c_before[E];
        uint8_t cut_in[E], cut_out[E];  // between this step and the one before, and the next
    } in_;
};

}  // namespace rnn::cuda
