// The input half of the gates, W_ih·x + b_ih, some steps at a time.
//
// Every member of the team computes what its own units and rows are going to need, so nobody waits
// for anybody, and it stays in the member's cache until then. Even a single row a step fills the
// register tiles, because the rows of many steps go together.
#pragma once

#include "dots.h"
#include "panels.h"
#include "plan.h"
#include "product.h"
#include "rows.h"
#include "sizes.h"

namespace rnn::cpu::RNN_ISA {

// A panel (K, G, L) of the weights (G·H, K) of units [unit, unit + n).
template <class S, int G>
void pack_gates(const S* w, int64_t H, int64_t K, int64_t unit, int n, compute_t<S>* panel) {
    for (int g = 0; g < G; g++) pack_rows<S>(w + (g * H + unit) * K, K, n, G, g, panel);
}

template <class C, class S>
class Inputs {
    using A = compute_t<S>;
    using F = factor_t<S>;
    using V = Vec<A>;
    static constexpr int G = C::gates, L = V::size;

public:
    Inputs(const Forward& call, const Rows& rows, const Plan& plan)
        : f(call),
          rows(rows),
          plan(plan),
          D(f.seq.D),
          H(f.seq.H),
          I(f.gx ? 0 : f.I),
          J(blocks_of<V>(H)),
          own_rows((f.seq.B + plan.row_groups - 1) / plan.row_groups),
          own_blocks((D * J + plan.unit_groups - 1) / plan.unit_groups),
          size(f.gx ? 0 : plan.chunk * own_rows),
          P(pitch_of<F>(I)),
          weights(f.gx || !plan.pack ? 0 : D * J * depths<S>(I) * G * L),
          bias(f.gx ? 0 : D * J * G * L),
          found(members() * own_blocks * size * G * L),
          from(members() * size),
          first(members() * D * (plan.chunk + 1)),
          copies(copied() ? members() * size * P : 0) {}

    // The weights of one block of n units.
    void pack(int64_t q, int n) const {
        if (plan.pack)
            pack_gates<S, G>((const S*)f.w_ih[q / J], H, I, q % J * L, n,
                             weights + q * depths<S>(I) * G * L);
    }

    // Where its biases (G, L) belong.
    A* bias_of(int64_t q) const { return bias + q * G * L; }

    // For member i, steps [s, s + chunk).
    void multiply_steps(int i, int64_t s) const {
        const Range batch = part(f.seq.B, plan.row_groups, i / plan.unit_groups);
        const Range blocks = part(D * J, plan.unit_groups, i % plan.unit_groups);
        for (int64_t d = 0; d < D; d++) {
            const Range own = blocks.within({d * J, (d + 1) * J});
            if (own.empty()) continue;
            const int64_t n = collect(i, d, s, batch);
            for (int64_t q = own.begin; n && q < own.end; q++) {
                A* out = place(i, q - blocks.begin);
                if (plan.pack) {
                    multiply<S, G>(n, depths<S>(I), from + i * size,
                                   weights + q * depths<S>(I) * G * L, bias + q * G * L, out);
                } else {
                    const int64_t j = q % J;
                    multiply_unpacked<S, G>(n, I, from + i * size, (const S*)f.w_ih[d] + j * L * I,
                                            H, H - j * L < L ? int(H - j * L) : L, bias + q * G * L,
                                            out);
                }
            }
        }
    }

    // (rows, G, L) of block q in step s, from the member's first row on.
    const A* gates(int i, int64_t q, int64_t s) const {
        const Range blocks = part(D * J, plan.unit_groups, i % plan.unit_groups);
        return place(i, q - blocks.begin) + *starts(i, q / J, s % plan.chunk) * G * L;
    }

private:
    int64_t members() const { return int64_t(plan.row_groups) * plan.unit_groups; }
    A* place(int i, int64_t block) const { return found + (i * own_blocks + block) * size * G * L; }
    int64_t* starts(int i, int64_t d, int64_t step) const {
        return first + (i * D + d) * (plan.chunk + 1) + step;
    }

    // Whether rows of x are no factors as they lie.
    bool copied() const { return !f.gx && (!std::is_same_v<S, F> || I % Factors<S>::depth != 0); }

    // The rows of x that direction d takes in these steps, in this order. How many there are.
    int64_t collect(int i, int64_t d, int64_t s, Range batch) const {
        const int64_t end = f.seq.T - s < plan.chunk ? f.seq.T : s + plan.chunk;
        int64_t n = 0;
        for (int64_t step = s; step < end; step++) {
            const int64_t t = rows.time(d, step);
            const Range active = batch.within({0, rows.count(t)});
            *starts(i, d, step - s) = n;
            for (int64_t b = active.begin; b < active.end; b++, n++)
                *(from + i * size + n) = row(i, n, t, b);
        }
        return n;
    }

    const F* row(int i, int64_t n, int64_t t, int64_t b) const {
        const S* x = (const S*)f.x +
                     (f.seq.batch_sizes ? rows.row(t, b) * f.x_row : t * f.x_step + b * f.x_row);
        if (!copied()) return reinterpret_cast<const F*>(x);
        F* copy = copies + (i * size + n) * P;
        for (int64_t k = 0; k < P; k += L) {
            const int64_t there = I - k;
            store_full(copy + k, load(x + k, there < 0 ? 0 : (there < L ? int(there) : L)));
        }
        return copy;
    }

    const Forward& f;
    const Rows& rows;
    const Plan& plan;
    const int64_t D, H, I, J;
    const int64_t own_rows, own_blocks;  // of a member, at most
    const int64_t size;                  // rows in a chunk, at most
    const int64_t P;                     // values from copy to copy
    const Array<A> weights;              // (D, J, I, G, L), I in multiply-adds
    const Array<A> bias;                 // (D, J, G, L)
    const Array<A> found;                // (members, own_blocks, size, G, L)
    const Array<const F*> from;          // (members, size)
    const Array<int64_t> first;          // (members, D, chunk + 1)  row that each step starts at
    const Array<F> copies;               // (members, size, P)
};

}  // namespace rnn::cpu::RNN_ISA
