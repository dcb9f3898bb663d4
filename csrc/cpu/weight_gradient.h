// The gradient of W_hh, and of b_hh: Σ over all rows of (gradients of the gates) ⊗ (state before).
//
// A product of its own rather than a vendor's, because the states before each row lie in y and h0,
// not in one matrix: here they are read where they are, for packed rows and resets too.
#pragma once

#include "product.h"
#include "rows.h"
#include "sizes.h"

namespace rnn::cpu::RNN_ISA {

template <class C, class S>
class WeightGradient {
    using A = compute_t<S>;
    using V = Vec<A>;
    static constexpr int G = C::gates, L = V::size;
    static constexpr int64_t widest = 3;        // columns of a tile
    static constexpr int64_t deep = 256;        // rows between two meetings of the threads
    static constexpr int64_t run_length = 128;  // rows added up in registers: a longer run of small
                                                // terms would round more than torch's sum over T
    static constexpr int64_t group = 24;        // gates whose sums stay in the first cache

public:
    WeightGradient(const Backward& call, const Rows& rows, int members)
        : f(call),
          rows(rows),
          D(f.seq.D),
          H(f.seq.H),
          N(rows.total()),
          J(blocks_of<V>(H)),
          panels((J + widest - 1) / widest),
          members(members),
          P(pitch_of<A>(deep)),
          states{Array<A>(f.dw_hh ? J * deep * L : 0), Array<A>(f.dw_hh ? J * deep * L : 0)},
          turned(G * H * P),
          sums(in_place || !f.dw_hh ? 0 : G * H * H),
          bias(G * H),
          before(N) {}

    // To be called by every thread of a team.
    void run(const Team& team) {
        for (int64_t d = 0; d < D; d++) {
            team.each([&](int i) {
                find(d, part(f.seq.T, members, i));
                const Range own = part(G * H, members, i);
                for (int64_t g = own.begin; g < own.end; g++) *(bias + g) = 0;
            });
            team.meet();
            for (int64_t n = 0, round = 0; n < N || round == 0; n += deep, round++) {
                const A* some_states = states[round & 1] + 0;
                const int64_t some = N - n < deep ? N - n : deep;
                team.each([&](int i) { collect(n, some, round, part(panels, members, i)); });
                team.meet();
                team.each([&](int i) {
                    const Range own = part(G * H, members, i);
                    turn(d, n, some, own);
                    add(d, some, round == 0, some_states, own);
                });
            }
            team.each([&](int i) { finish(d, part(G * H, members, i)); });
            team.meet();
        }
    }

private:
    static constexpr bool in_place = std::is_same_v<S, A>;

    void find(int64_t d, Range times) {
        for (int64_t t = times.begin; t < times.end; t++)
            for (int64_t b = 0; b < rows.count(t); b++) *(before + rows.row(t, b)) = state(d, t, b);
    }

    const S* state(int64_t d, int64_t t, int64_t b) const {
        const int64_t row = rows.before(d, t, b);
        if (row == Rows::zero) return nullptr;
        return row == Rows::initial ? (const S*)f.h0 + (d * f.seq.B + b) * H
                                    : (const S*)f.y + (row * D + d) * H;
    }

    // The states before rows [n, n + some), in panels.
    void collect(int64_t n, int64_t some, int64_t round, Range own) const {
        for (int64_t p = own.begin; f.dw_hh && p < own.end; p++) {
            const Range blocks = part(J, panels, p);
            A* out = states[round & 1] + blocks.begin * deep * L;
            for (int64_t k = 0; k < some; k++) {
                const S* h = *(before + n + k);
                for (int64_t j = blocks.begin; j < blocks.end; j++, out += L) {
                    const int64_t lanes = H - j * L < L ? H - j * L : L;
                    (h ? load(h + j * L, int(lanes)) : V(A(0))).store(out);
                }
            }
        }
    }

    // The gates' gradients of these rows, gate by gate: those of dgx, then, for a cell that splits
    // its last gate, those of dgh.
    void turn(int64_t d, int64_t n, int64_t some, Range own) const {
        constexpr int64_t pieces = C::splits ? 2 : 1;
        const int64_t piece = C::splits ? (G - 1) * H : G * H;
        for (int64_t second = 0; second < pieces; second++) {
            const Range gates = own.within(second ? Range{piece, G * H} : Range{0, piece});
            const S* from = second ? (const S*)f.dgh + (n * D + d) * H - piece
                                   : (const S*)f.dgx + (n * D + d) * G * H;
            const int64_t stride = second ? D * H : D * G * H;
            for (int64_t k = 0; k < some; k += L)
                for (int64_t g = gates.begin; g < gates.end; g += L)
                    turn_square(from + k * stride + g, stride, int(some - k < L ? some - k : L),
                                int(gates.end - g < L ? gates.end - g : L), g, turned + g * P + k);
        }
    }

    void turn_square(const S* from, int64_t stride, int count, int lanes, int64_t g, A* out) const {
        V x[L], total = V(A(0));
        for (int i = 0; i < L; i++) {
            x[i] = i < count ? load(from + i * stride, lanes) : V(A(0));
            __builtin_prefetch(from + (i + L) * stride);  // rows are pages apart
            total = total + x[i];
        }
        transpose(x);
        for (int i = 0; i < lanes; i++) x[i].store(out + i * P);
        store(bias + g, V(load(bias + g, lanes)) + total, lanes);
    }

    // Adds the products of a round's rows to the sums of these gates, or starts them.
    void add(int64_t d, int64_t some, bool start, const A* some_states, Range own) const {
        for (int64_t p = 0; f.dw_hh && p < panels; p++) {
            const Range blocks = part(J, panels, p);
            with_width<widest>(int(blocks.size()), [&]<int W>() {
                for (int64_t g = own.begin; g < own.end; g += group) {
                    const Range some_gates{g, own.end - g < group ? own.end : g + group};
                    add_group<W>(d, some, start, some_states + blocks.begin * deep * L,
                                 blocks.begin * L, some_gates);
                }
            });
        }
    }

    template <int W>
    void add_group(int64_t d, int64_t some, bool start, const A* panel, int64_t u,
                   Range gates) const {
        static constexpr A zeros[W * L] = {};
        alignas(64) A out[group * W * L], total[group * W * L];
        const int64_t n = gates.size();
        for (int64_t r = 0; r < n; r++)  // the sums come from afar while the product runs
            for (int w = 0; !start && w < W; w++)
                __builtin_prefetch(sum(d, gates.begin + r) + u + w * L, 0, 2);
        for (int64_t k = 0; k == 0 || k < some; k += run_length) {
            const int64_t run = some - k < run_length ? some - k : run_length;
            const A* rows[group];
            for (int64_t r = 0; r < n; r++) rows[r] = turned + (gates.begin + r) * P + k;
            multiply<A, W>(n, run, rows, panel + k * W * L, zeros, k ? out : total);
            for (int64_t i = 0; k && i < n * W; i++)
                (V::load(total + i * L) + V::load(out + i * L)).store(total + i * L);
        }
        for (int64_t r = 0; r < n; r++)
            for (int w = 0; w < W; w++) {
                A* to = sum(d, gates.begin + r) + u + w * L;
                const int lanes = H - u - w * L < L ? int(H - u - w * L) : L;
                const V x = V::load(total + (r * W + w) * L);
                store(to, start ? x : x + load(to, lanes), lanes);
            }
    }

    // Where a gate's sums (H) are added up: in the result itself, if that is precise enough.
    A* sum(int64_t d, int64_t gate) const {
        if constexpr (in_place) return (A*)f.dw_hh + (d * G * H + gate) * H;
        return sums + gate * H;
    }

    void finish(int64_t d, Range own) const {
        for (int64_t g = own.begin; g < own.end; g++) {
            const int64_t gate = d * G * H + g;
            if (f.db_hh) store((S*)f.db_hh + gate, V(*(bias + g)), 1);
            for (int64_t u = 0; !in_place && f.dw_hh && u < H; u += L) {
                const int lanes = H - u < L ? int(H - u) : L;
                store((S*)f.dw_hh + gate * H + u, load(sum(d, g) + u, lanes), lanes);
            }
        }
    }

    const Backward& f;
    const Rows& rows;
    const int64_t D, H, N, J;  // J blocks of L units make H
    const int64_t panels;      // of a row of states
    const int members;
    const int64_t P;               // values from gate to gate of `turned`
    const Array<A> states[2];      // (J, deep, L)  of even and odd rounds, panel by panel
    const Array<A> turned;         // (G·H, P)
    const Array<A> sums;           // (G·H, H)
    const Array<A> bias;           // (G·H)
    const Array<const S*> before;  // (N)  the state before each row, or null: zero
};

}  // namespace rnn::cpu::RNN_ISA
