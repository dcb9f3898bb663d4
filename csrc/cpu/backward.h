// The backward recurrence: gates, then product, of every step from the last to the first.
#pragma once

#include "math.h"
#include "plan.h"
#include "product.h"
#include "rows.h"
#include "weight_gradient.h"

namespace rnn::cpu::RNN_ISA {

template <class C, class S>
class BackwardPass {
    using A = compute_t<S>;
    using V = Vec<A>;
    static constexpr int G = C::gates, K = C::saved, L = V::size;
    static constexpr int widest = 4;  // columns of a tile

public:
    BackwardPass(const Backward& call, int threads)
        : f(call),
          D(f.seq.D),
          B(f.seq.B),
          H(f.seq.H),
          J((H + L - 1) / L),
          rows(f.seq),
          threads(threads),
          plan(make_plan(f.seq, G, L, sizeof(A), threads)),
          weights(plan.pack ? D * J * G * H * L : 0),
          dgates{Array<A>(D * B * G * H), Array<A>(D * B * G * H)},
          dh(D * B * J * L),
          dc(C::has_c ? D * B * J * L : 0) {}

    void run() {
        const int members = plan.row_groups * plan.unit_groups;
        with_team(members, [&](const Team& team) {
            team.each([&](int i) {
                pack(part(D * J, members, i));
                start(part(D * B, members, i));
            });
            team.meet();
            for (int64_t s = f.seq.T - 1; s >= 0; s--) {
                team.each([&](int i) { gates(s, batch(i), blocks(i)); });
                if (plan.unit_groups > 1) team.meet();
                team.each([&](int i) { product(s, batch(i), blocks(i)); });
            }
            team.meet();
            team.each([&](int i) { finish(part(D * B, members, i)); });
        });
        if (!f.dw_hh && !f.db_hh) return;
        WeightGradient<C, S> weight_gradient(f, rows);
        with_team(threads, [&](const Team& team) { weight_gradient.run(team, threads); });
    }

private:
    Range batch(int i) const { return part(B, plan.row_groups, i / plan.unit_groups); }
    Range blocks(int i) const { return part(D * J, plan.unit_groups, i % plan.unit_groups); }
    int lanes(int64_t j) const { return H - j * L < L ? int(H - j * L) : L; }

    void pack(Range some) {
        if (!plan.pack) return;
        for (int64_t q = some.begin; q < some.end;) {
            const int64_t d = q / J, u = q % J * L;
            const int64_t end = some.end < (d + 1) * J ? some.end : (d + 1) * J;
            const int64_t n = H - u < (end - q) * L ? H - u : (end - q) * L;
            pack_columns((const S*)f.w_hh + d * G * H * H + u, H, G * H, n,
                         weights + q * G * H * L);
            q = end;
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
    void gates(int64_t s, Range batch, Range blocks) {
        for (int64_t d = blocks.begin / J; d * J < blocks.end; d++) {
            const int64_t t = rows.time(d, s);
            const int64_t end = batch.end < rows.count(t) ? batch.end : rows.count(t);
            const int64_t first = blocks.begin > d * J ? blocks.begin : d * J;
            const int64_t last = blocks.end < (d + 1) * J ? blocks.end : (d + 1) * J;
            for (int64_t b = batch.begin; b < end; b++)
                for (int64_t q = first; q < last; q++) unit_gates(s, d, q - d * J, t, b);
        }
    }

    void unit_gates(int64_t s, int64_t d, int64_t j, int64_t t, int64_t b) {
        const int n = lanes(j);
        const int64_t u = j * L, row = rows.row(t, b) * D + d, own = ((d * B + b) * J + j) * L;
        const int64_t before = rows.before(d, t, b), start = (d * B + b) * H + u;
        V saved[K], dgx[G], dgh[G], h_prev(A(0)), c_prev(A(0)), c(A(0)), dcell(A(0));
        for (int k = 0; k < K; k++) saved[k] = load((const A*)f.saved + (row * K + k) * H + u, n);
        V dhidden = V::load(dh + own);
        if (f.dy) dhidden = dhidden + load((const S*)f.dy + row * H + u, n);
        if constexpr (C::has_c) {
            dcell = V::load(dc + own);
            if (f.dc) dcell = dcell + load((const A*)f.dc + row * H + u, n);
            c = load((const A*)f.c + row * H + u, n);
            if (before >= 0) {
                c_prev = load((const A*)f.c + (before * D + d) * H + u, n);
            } else if (before == Rows::initial) {
                c_prev = load((const S*)f.c0 + start, n);
            }
        } else {
            if (before >= 0) {
                h_prev = load((const S*)f.y + (before * D + d) * H + u, n);
            } else if (before == Rows::initial) {
                h_prev = load((const S*)f.h0 + start, n);
            }
        }

        const V direct = C::backward(saved, h_prev, c_prev, c, dhidden, dcell, dgx, dgh);

        for (int g = 0; g < G; g++) {
            store((S*)f.dgx + (row * G + g) * H + u, dgx[g], n);
            store(dgates[s & 1] + ((d * B + b) * G + g) * H + u, dgh[g], n);
        }
        if constexpr (C::splits) store((S*)f.dgh + row * H + u, dgh[G - 1], n);
        direct.store(dh + own);
        if constexpr (C::has_c) (before == Rows::zero ? V(A(0)) : dcell).store(dc + own);
    }

    // dh of the step before: what passed by, plus the gradients of all gates times W_hh.
    void product(int64_t s, Range batch, Range blocks) {
        for (int64_t q = blocks.begin; q < blocks.end;) {
            const int64_t d = q / J, t = rows.time(d, s);
            const int64_t own = blocks.end < (d + 1) * J ? blocks.end : (d + 1) * J;
            const Range active{batch.begin, batch.end < rows.count(t) ? batch.end : rows.count(t)};
            const int width = own - q < widest ? int(own - q) : widest;
            with_width<widest>(width, [&]<int W>() { tiles<W>(s, d, t, q, active); });
            q += width;
        }
    }

    template <int W>
    void tiles(int64_t s, int64_t d, int64_t t, int64_t q, Range batch) {
        constexpr int R = tile_rows(W);
        alignas(64) A out[R * W * L];
        for (int64_t b = batch.begin; b < batch.end; b += R) {
            const int n = batch.end - b < R ? int(batch.end - b) : R;
            const A* from[R];
            for (int r = 0; r < n; r++) from[r] = dgates[s & 1] + (d * B + b + r) * G * H;
            if (plan.pack) {
                tile_of<A, W>(n, G * H, from, weights + q * G * H * L, nullptr, out);
            } else {
                const S* w_hh = (const S*)f.w_hh + d * G * H * H + q % J * L;
                for (int r = 0; r < n; r++)
                    for (int w = 0; w < W; w++)
                        row_tile(H, G * H, from[r], w_hh + w * L, lanes(q % J + w),
                                 out + (r * W + w) * L);
            }
            for (int r = 0; r < n; r++) {
                const bool cut = f.seq.resets && rows.before(d, t, b + r) == Rows::zero;
                for (int w = 0; w < W; w++) {
                    A* to = dh + ((d * B + b + r) * J + q % J + w) * L;
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
    const int64_t D, B, H, J;  // J blocks of L units make H
    const Rows rows;
    const int threads;
    const Plan plan;
    const Array<A> weights;    // (D, J, G·H, L)
    const Array<A> dgates[2];  // (D, B, G·H)  recurrent halves, at even and odd steps
    const Array<A> dh, dc;     // (D, B, J·L)
};

}  // namespace rnn::cpu::RNN_ISA
