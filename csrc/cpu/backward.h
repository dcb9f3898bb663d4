// The backward recurrence: gates, then product, of every step from the last to the first.
#pragma once

#include "dots.h"
#include "math.h"
#include "panels.h"
#include "plan.h"
#include "product.h"
#include "rows.h"
#include "sizes.h"
#include "weight_gradient.h"

namespace rnn::cpu::RNN_ISA {

template <class C, class S>
class BackwardPass {
    using A = compute_t<S>;
    using V = Vec<A>;
    static constexpr int G = C::gates, K = C::saved, L = V::size;
    static constexpr int widest = 3;  // columns of a tile

public:
    BackwardPass(const Backward& call, int threads)
        : f(call),
          D(f.seq.D),
          B(f.seq.B),
          H(f.seq.H),
          J(blocks_of<V>(H)),
          P(pitch_of<A>(G * H)),
          rows(f.seq),
          threads(threads),
          plan(make_plan(f.seq, 0, G, L, sizeof(A), threads)),
          panels(panel_count()),
          weights(plan.pack ? D * J * G * H * L : 0),
          dgates{Array<A>(D * B * P), Array<A>(D * B * P)},
          dh(D * B * J * L),
          dc(C::has_c ? D * B * J * L : 0) {}

    void run() {
        const int members = plan.row_groups * plan.unit_groups;
        with_team(members, [&](const Team& team) {
            team.each([&](int i) {
                pack(part(D * panels, members, i));
                start(part(D * B, members, i));
            });
            team.meet();
            for (int64_t s = f.seq.T - 1; s >= 0; s--) {
                team.each([&](int i) { each_direction(i, s, &BackwardPass::gates); });
                if (plan.unit_groups > D) team.meet();
                team.each([&](int i) { each_direction(i, s, &BackwardPass::product); });
            }
            team.meet();
            team.each([&](int i) { finish(part(D * B, members, i)); });
        });
        if (!f.dw_hh && !f.db_hh) return;
        WeightGradient<C, S> weight_gradient(f, rows, threads);
        with_team(threads, [&](const Team& team) { weight_gradient.run(team); });
    }

private:
    // Panels of a direction: a whole number for each member, none wider than a tile.
    int64_t panel_count() const {
        const int64_t each = (plan.unit_groups + D - 1) / D, least = (J + widest - 1) / widest;
        const int64_t even = (least + each - 1) / each * each;
        return even < J ? even : J;
    }

    int lanes(int64_t j) const { return H - j * L < L ? int(H - j * L) : L; }

    void pack(Range some) {
        for (int64_t q = some.begin; plan.pack && q < some.end; q++) {
            const int64_t d = q / panels;
            const Range own = part(J, panels, q % panels);
            const int64_t u = own.begin * L;
            pack_columns((const S*)f.w_hh + d * G * H * H + u, H, G * H, H - u, own.size(),
                         weights + (d * J + own.begin) * G * H * L);
        }
    }

    // What step s has for member i, direction by direction: work(s, d, t, its panels, its rows).
    template <class Work>
    void each_direction(int i, int64_t s, Work work) {
        const Range batch = part(B, plan.row_groups, i / plan.unit_groups);
        const Range some = part(D * panels, plan.unit_groups, i % plan.unit_groups);
        for (int64_t d = 0; d < D; d++) {
            const Range own = some.within({d * panels, (d + 1) * panels});
            const int64_t t = rows.time(d, s);
            const Range active = batch.within({0, rows.count(t)});
            if (!own.empty() && !active.empty())
                (this->*work)(s, d, t, {own.begin - d * panels, own.end - d * panels}, active);
        }
    }

    void start(Range some) {
        for (int64_t row = some.begin; row < some.end; row++)
            for (int64_t j = 0; j < J; j++) {
                const int64_t from = row * H + j * L, to = (row * J + j) * L;
                load((const S*)f.dh_n + from, f.dh_n ? lanes(j) : 0).store(dh + to);
                if constexpr (C::has_c)
                    load((const S*)f.dc_n + from, f.dc_n ? lanes(j) : 0).store(dc + to);
            }
    }

    // Gradients of the gates of step s; leaves in dh the share that passes W_hh by. Row by row, so
    // that what the forward saved is read in the order it lies in.
    void gates(int64_t s, int64_t d, int64_t t, Range own, Range batch) {
        const int64_t first = part(J, panels, own.begin).begin;
        const int64_t last = part(J, panels, own.end - 1).end;
        const int64_t full = last * L > H ? last - 1 : last;  // blocks whose lanes all have units
        for (int64_t b = batch.begin; b < batch.end; b++) {
            const int64_t row = rows.row(t, b) * D + d, before = rows.before(d, t, b);
            for (int64_t j = first; j < full; j++)
                unit_gates(s, d * B + b, j, row, before, before * D + d,
                           std::integral_constant<int, L>{});
            if (full < last)
                unit_gates(s, d * B + b, full, row, before, before * D + d, lanes(full));
        }
    }

    // Of n units, a number that the compiler knows where all lanes have one; `own` is the row of
    // states, `from` the row that its state comes from.
    template <class Lanes>
    RNN_HD void unit_gates(int64_t s, int64_t own, int64_t j, int64_t row, int64_t before,
                           int64_t from, Lanes n) {
        const int64_t u = j * L, start = own * H + u;
        A *const to = dh + (own * J + j) * L, *const to_c = dc + (own * J + j) * L;
        V saved[K], dgx[G], dgh[G], h_prev(0), c_prev(0), c(0), dcell(0);
        for (int k = 0; k < K; k++) {
            saved[k] = load((const A*)f.saved + (row * K + k) * H + u, n);
            // What the next step will read comes from memory while the product runs.
            if (before >= 0) __builtin_prefetch((const A*)f.saved + (from * K + k) * H + u, 0, 2);
        }
        V dhidden = V::load(to);
        if (f.dy) dhidden = dhidden + load((const S*)f.dy + row * H + u, n);
        if constexpr (C::has_c) {
            dcell = V::load(to_c);
            if (f.dc) dcell = dcell + load((const A*)f.dc + row * H + u, n);
            c = load((const A*)f.c + row * H + u, n);
            if (before >= 0) {
                c_prev = load((const A*)f.c + from * H + u, n);
            } else if (before == Rows::initial) {
                c_prev = load((const S*)f.c0 + start, n);
            }
        }
        if constexpr (C::mixes) {
            if (before >= 0) {
                h_prev = load((const S*)f.y + from * H + u, n);
            } else if (before == Rows::initial) {
                h_prev = load((const S*)f.h0 + start, n);
            }
        }

        const V direct = C::backward(saved, h_prev, c_prev, c, dhidden, dcell, dgx, dgh);

        A* gates = dgates[s & 1] + own * P + u;
        for (int g = 0; g < G; g++) {
            store((S*)f.dgx + (row * G + g) * H + u, dgx[g], n);
            store(gates + g * H, dgh[g], n);
        }
        if constexpr (C::splits) store((S*)f.dgh + row * H + u, dgh[G - 1], n);
        direct.store(to);
        if constexpr (C::has_c) (before == Rows::zero ? V(0) : dcell).store(to_c);
    }

    // dh of the step before: what passed by, plus the gradients of all gates times W_hh.
    void product(int64_t s, int64_t d, int64_t t, Range own, Range batch) {
        for (int64_t k = 0; k < own.size(); k++) {  // as in the forward, to and fro
            const Range blocks = part(J, panels, s & 1 ? own.end - 1 - k : own.begin + k);
            with_width<widest>(int(blocks.size()),
                               [&]<int W>() { panel<W>(s, d, t, blocks.begin, batch); });
        }
    }

    template <int W>
    void panel(int64_t s, int64_t d, int64_t t, int64_t j, Range batch) {
        constexpr int64_t group = 48;
        static constexpr A zeros[W * L] = {};
        alignas(64) A out[group * W * L];
        const A* from[group];
        for (int64_t b = batch.begin; b < batch.end; b += group) {
            const int64_t n = batch.end - b < group ? batch.end - b : group;
            for (int64_t r = 0; r < n; r++) from[r] = dgates[s & 1] + (d * B + b + r) * P;
            if (plan.pack) {
                multiply<A, W>(n, G * H, from, weights + (d * J + j) * G * H * L, zeros, out);
            } else {
                const S* w_hh = (const S*)f.w_hh + d * G * H * H + j * L;
                for (int64_t r = 0; r < n; r++)
                    for (int w = 0; w < W; w++)
                        row_tile(H, G * H, from[r], w_hh + w * L, lanes(j + w),
                                 out + (r * W + w) * L);
            }
            for (int64_t r = 0; r < n; r++) {
                const bool cut = f.seq.resets && rows.before(d, t, b + r) == Rows::zero;
                for (int w = 0; w < W; w++) {
                    A* to = dh + ((d * B + b + r) * J + j + w) * L;
                    const V sum = V::load(to) + V::load(out + (r * W + w) * L);
                    (cut ? V(A(0)) : sum).store(to);
                }
            }
        }
    }

    void finish(Range some) {
        for (int64_t row = some.begin; row < some.end; row++)
            for (int64_t j = 0; j < J; j++) {
                const int64_t to = row * H + j * L, from = (row * J + j) * L;
                store((S*)f.dh0 + to, V::load(dh + from), lanes(j));
                if constexpr (C::has_c) store((S*)f.dc0 + to, V::load(dc + from), lanes(j));
            }
    }

    const Backward& f;
    const int64_t D, B, H, J, P;  // J blocks of L units make H; P values from row to row of dgates
    const Rows rows;
    const int threads;
    const Plan plan;
    const int64_t panels;      // of a direction
    const Array<A> weights;    // (D, J, G·H, L), the blocks of a panel side by side
    const Array<A> dgates[2];  // (D, B, P)  recurrent halves, at even and odd steps
    const Array<A> dh, dc;     // (D, B, J·L)
};

}  // namespace rnn::cpu::RNN_ISA
