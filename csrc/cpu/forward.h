// The forward recurrence: product and gates of every step, in one parallel region.
#pragma once

#include "math.h"
#include "plan.h"
#include "product.h"
#include "rows.h"

namespace rnn::cpu::RNN_ISA {

template <class C, class S>
class ForwardPass {
    using A = compute_t<S>;
    using V = Vec<A>;
    static constexpr int G = C::gates, K = C::saved, L = V::size;
    static constexpr int R = tile_rows(G);

public:
    ForwardPass(const Forward& call, int threads)
        : f(call),
          D(f.seq.D),
          B(f.seq.B),
          H(f.seq.H),
          J((H + L - 1) / L),
          rows(f.seq),
          plan(make_plan(f.seq, G, L, sizeof(A), threads)),
          weights(plan.pack ? D * J * G * H * L : 0),
          bias(D * J * G * L),
          state{Array<A>(D * B * J * L), Array<A>(D * B * J * L)},
          cells(C::has_c ? D * B * J * L : 0),
          zero(J * L) {}

    void run() {
        const int members = plan.row_groups * plan.unit_groups;
        with_team(members, [&](const Team& team) {
            team.each([&](int i) {
                pack(part(D * J, members, i));
                start(part(D * B, members, i));
            });
            team.meet();
            for (int64_t s = 0; s < f.seq.T; s++) {
                team.each([&](int i) {
                    step(s, part(B, plan.row_groups, i / plan.unit_groups),
                         part(D * J, plan.unit_groups, i % plan.unit_groups));
                });
                if (plan.unit_groups > 1) team.meet();
            }
        });
        finish();
    }

private:
    int lanes(int64_t j) const { return H - j * L < L ? int(H - j * L) : L; }

    void pack(Range blocks) {
        for (int64_t q = blocks.begin; q < blocks.end; q++)
            for (int g = 0; g < G; g++) {
                const int64_t d = q / J, j = q % J, unit = (d * G + g) * H + j * L;
                if (plan.pack)
                    pack_rows((const S*)f.w_hh + unit * H, H, lanes(j),
                              weights + (q * G + g) * H * L);
                load((const S*)f.b_hh + unit, f.b_hh ? lanes(j) : 0).store(bias + (q * G + g) * L);
            }
    }

    // Rows count direction and batch together. Both buffers start from h0, because a row of a
    // packed sequence may enter at an odd step as well as at an even one.
    void start(Range some) {
        for (int64_t j = 0; j < J; j++) {
            V(A(0)).store(zero + j * L);
            for (int64_t row = some.begin; row < some.end; row++) {
                const int64_t from = row * H + j * L, to = (row * J + j) * L;
                const V h = load((const S*)f.h0 + from, lanes(j));
                h.store(state[0] + to);
                h.store(state[1] + to);
                if constexpr (C::has_c) load((const S*)f.c0 + from, lanes(j)).store(cells + to);
            }
        }
    }

    void step(int64_t s, Range batch, Range blocks) {
        alignas(64) A gh[R * G * L];
        for (int64_t q = blocks.begin; q < blocks.end; q++) {
            const int64_t d = q / J, j = q % J, t = rows.time(d, s);
            const int64_t end = batch.end < rows.count(t) ? batch.end : rows.count(t);
            for (int64_t b = batch.begin; b < end; b += R) {
                const int n = end - b < R ? int(end - b) : R;
                const A* h[R];
                for (int r = 0; r < n; r++) h[r] = before(d, t, b + r, s);
                for (int r = 0; r < n; r++) prefetch(rows.row(t, b + r) * D + d, j * L);
                product(q, n, h, gh);
                for (int r = 0; r < n; r++) gates(d, j, t, b + r, s, h[r], gh + r * G * L);
            }
        }
    }

    // What the gates will read and write comes from memory while the product runs.
    void prefetch(int64_t row, int64_t u) const {
        for (int g = 0; g < G; g++) __builtin_prefetch((const S*)f.gx + (row * G + g) * H + u);
        if (!f.saved) return;
        for (int k = 0; k < K; k++) __builtin_prefetch((A*)f.saved + (row * K + k) * H + u, 1);
    }

    const A* before(int64_t d, int64_t t, int64_t b, int64_t s) const {
        if (f.seq.resets && rows.before(d, t, b) == Rows::zero) return zero + 0;
        return state[s & 1] + (d * B + b) * J * L;
    }

    void product(int64_t q, int n, const A* const* h, A* gh) const {
        if (plan.pack) {
            tile_of<A, G>(n, H, h, weights + q * G * H * L, bias + q * G * L, gh);
            return;
        }
        const int64_t d = q / J, j = q % J;
        for (int r = 0; r < n; r++)
            dot_tile<S, G>(H, h[r], (const S*)f.w_hh + d * G * H * H, j * L, lanes(j),
                           bias + q * G * L, gh + r * G * L);
    }

    void gates(int64_t d, int64_t j, int64_t t, int64_t b, int64_t s, const A* h_prev,
               const A* products) {
        const int n = lanes(j);
        const int64_t u = j * L, row = rows.row(t, b) * D + d, own = ((d * B + b) * J + j) * L;
        V gx[G], gh[G], saved[K];
        for (int g = 0; g < G; g++) {
            gx[g] = load((const S*)f.gx + (row * G + g) * H + u, n);
            gh[g] = V::load(products + g * L);
        }
        V c(A(0));
        if constexpr (C::has_c)
            if (h_prev != zero + 0) c = V::load(cells + own);

        const V h = round_to<S>(C::forward(gx, gh, V::load(h_prev + u), c, saved));

        h.store(state[~s & 1] + own);
        store((S*)f.y + row * H + u, h, n);
        if constexpr (C::has_c) {
            c.store(cells + own);
            if (f.c) store((A*)f.c + row * H + u, c, n);
        }
        if (f.saved)
            for (int k = 0; k < K; k++) store((A*)f.saved + (row * K + k) * H + u, saved[k], n);
    }

    void finish() {
        for (int64_t d = 0; d < D; d++)
            for (int64_t b = 0; b < B; b++) {
                const int64_t to = (d * B + b) * H, row = rows.last(d, b);
                const S* h =
                    row == Rows::initial ? (const S*)f.h0 + to : (const S*)f.y + (row * D + d) * H;
                std::memcpy((S*)f.h_n + to, h, H * sizeof(S));
                if constexpr (C::has_c)
                    for (int64_t j = 0; j < J; j++)
                        store((S*)f.c_n + to + j * L, V::load(cells + (to / H * J + j) * L),
                              lanes(j));
            }
    }

    const Forward& f;
    const int64_t D, B, H, J;  // J blocks of L units make H
    const Rows rows;
    const Plan plan;
    const Array<A> weights;   // (D, J, G, H, L)
    const Array<A> bias;      // (D, J, G, L)
    const Array<A> state[2];  // (D, B, J·L)  h at even and odd steps, rounded to S
    const Array<A> cells;     // (D, B, J·L)
    const Array<A> zero;      // (J·L)
};

}  // namespace rnn::cpu::RNN_ISA
