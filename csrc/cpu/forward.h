// The forward recurrence: product and gates of every step, in one parallel region.
#pragma once

#include "inputs.h"
#include "math.h"
#include "plan.h"

namespace rnn::cpu::RNN_ISA {

template <class C, class S>
class ForwardPass {
    using A = compute_t<S>;
    using F = factor_t<S>;
    using V = Vec<A>;
    static constexpr int G = C::gates, K = C::saved, L = V::size;
    static constexpr int64_t group = 48;  // rows whose products wait for their gates in the cache

public:
    ForwardPass(const Forward& call, int threads)
        : f(call),
          D(f.seq.D),
          B(f.seq.B),
          H(f.seq.H),
          J(blocks_of<V>(H)),
          P(pitch_of<F>(J * L)),
          rows(f.seq),
          plan(make_plan(f.seq, f.gx ? 0 : f.I, G, L, sizeof(A), threads)),
          members(plan.row_groups * plan.unit_groups),
          inputs(f, rows, plan),
          weights(plan.pack ? D * J * depths<S>(H) * G * L : 0),
          bias(D * J * G * L),
          state{Array<F>(D * B * P), Array<F>(D * B * P)},
          cells(C::has_c ? D * B * J * L : 0),
          zero(P),
          from(members * B),
          products(members * group * G * L) {
        for (int64_t j = 0; j < J; j++) put(V(0), L, zero + j * L);
    }

    void run() {
        with_team(members, [&](const Team& team) {
            team.each([&](int i) {
                pack(part(D * J, members, i));
                start(part(D * B, members, i));
            });
            team.meet();
            for (int64_t s = 0; s < f.seq.T; s++) {
                team.each([&](int i) {
                    if (!f.gx && s % plan.chunk == 0) inputs.multiply_steps(i, s);
                    step(i, s);
                });
                if (plan.unit_groups > D) team.meet();
            }
        });
        finish();
    }

private:
    int lanes(int64_t j) const { return H - j * L < L ? int(H - j * L) : L; }

    void pack(Range blocks) {
        alignas(64) A spare[G * L];  // gx brings its bias along
        for (int64_t q = blocks.begin; q < blocks.end; q++) {
            const int64_t d = q / J, unit = q % J * L;
            const int n = lanes(q % J);
            if (plan.pack)
                pack_gates<S, G>((const S*)f.w_hh[d], H, H, unit, n,
                                 weights + q * depths<S>(H) * G * L);
            load_biases<C>((const S*)f.b_ih[d], (const S*)f.b_hh[d], H, unit, n,
                           f.gx ? spare : inputs.bias_of(q), bias + q * G * L);
            if (!f.gx) inputs.pack(q, n);
        }
    }

    // Rows count direction and batch together. Both buffers start from h0, because a row of a
    // packed sequence may enter at an odd step as well as at an even one.
    void start(Range some) {
        for (int64_t j = 0; j < J; j++) {
            for (int64_t row = some.begin; row < some.end; row++) {
                const V h = load((const S*)f.h0 + row * H + j * L, lanes(j));
                put(h, L, state[0] + row * P + j * L);
                put(h, L, state[1] + row * P + j * L);
                if constexpr (C::has_c)
                    load((const S*)f.c0 + row * H + j * L, lanes(j))
                        .store(cells + (row * J + j) * L);
            }
        }
    }

    // Every other step goes through the weights backwards: what was read last is still near.
    void step(int i, int64_t s) {
        const Range batch = part(B, plan.row_groups, i / plan.unit_groups);
        const Range blocks = part(D * J, plan.unit_groups, i % plan.unit_groups);
        for (int64_t d = 0; d < D; d++) {
            const Range own = blocks.within({d * J, (d + 1) * J});
            const int64_t t = rows.time(d, s);
            const Range active = batch.within({0, rows.count(t)});
            if (own.empty() || active.empty()) continue;
            for (int64_t b = active.begin; b < active.end; b++)
                *(from + i * B + b) = before(d, t, b, s);
            for (int64_t k = 0; k < own.end - own.begin; k++)
                block(i, s & 1 ? own.end - 1 - k : own.begin + k, t, s, active);
        }
    }

    const F* before(int64_t d, int64_t t, int64_t b, int64_t s) const {
        if (f.seq.resets && rows.before(d, t, b) == Rows::zero) return zero + 0;
        return state[s & 1] + (d * B + b) * P;
    }

    void block(int i, int64_t q, int64_t t, int64_t s, Range batch) {
        A* gh = products + i * group * G * L;
        const A* gx = f.gx ? nullptr : inputs.gates(i, q, s);
        for (int64_t b = batch.begin; b < batch.end; b += group) {
            const Range some{b, batch.end - b < group ? batch.end : b + group};
            const F* const* h = from + i * B + b;
            for (int64_t r = some.begin; r < some.end; r++)
                prefetch(rows.row(t, r) * D + q / J, q % J);
            product(q, some.size(), h, gh);
            if (lanes(q % J) == L)
                gates(q, t, s, some, h, gx, gh, std::integral_constant<int, L>{});
            else
                gates(q, t, s, some, h, gx, gh, lanes(q % J));
            if (gx) gx += some.size() * G * L;
        }
    }

    // What the gates will read and write comes from memory while the product runs.
    void prefetch(int64_t row, int64_t j) const {
        const int64_t u = j * L;
        for (int g = 0; f.gx && g < G; g++)
            __builtin_prefetch((const S*)f.gx + (row * G + g) * H + u);
        for (int k = 0; f.saved && k < K; k++)
            __builtin_prefetch((A*)f.saved + (row * K + k) * H + u, 1);
    }

    void product(int64_t q, int64_t n, const F* const* h, A* gh) const {
        if (plan.pack)
            return multiply<S, G>(n, depths<S>(H), h, weights + q * depths<S>(H) * G * L,
                                  bias + q * G * L, gh);
        const int64_t d = q / J, j = q % J;
        multiply_unpacked<S, G>(n, H, h, (const S*)f.w_hh[d] + j * L * H, H, lanes(j),
                                bias + q * G * L, gh);
    }

    // Of n units, a number that the compiler knows where all lanes have one.
    template <class Lanes>
    void gates(int64_t q, int64_t t, int64_t s, Range some, const F* const* h_prev, const A* half,
               const A* products, Lanes n) {
        const int64_t d = q / J, j = q % J, u = j * L, first = d * B + some.begin;
        F* h_next = state[~s & 1] + first * P + u;
        A* cell = cells + (first * J + j) * L;
        int64_t row = rows.row(t, some.begin) * D + d;
        for (int64_t r = 0; r < some.size(); r++, row += D, h_next += P, products += G * L) {
            V gx[G], gh[G], saved[K], c(0), h(0);
            for (int g = 0; g < G; g++) {
                gx[g] = half ? V::load(half + (r * G + g) * L)
                             : load((const S*)f.gx + (row * G + g) * H + u, n);
                gh[g] = V::load(products + g * L);
            }
            if constexpr (C::mixes) h = load_full(h_prev[r] + u);
            if constexpr (C::has_c)
                if (h_prev[r] != zero + 0) c = V::load(cell + r * J * L);

            h = round_to<S>(C::forward(gx, gh, h, c, saved));

            put(h, n, h_next);
            store((S*)f.y + row * H + u, h, n);
            if constexpr (C::has_c) {
                c.store(cell + r * J * L);
                if (f.c) store((A*)f.c + row * H + u, c, n);
            }
            for (int k = 0; f.saved && k < K; k++)
                store((A*)f.saved + (row * K + k) * H + u, saved[k], n);
        }
    }

    // A state becomes a factor. Where a multiply-add takes two values, one may be of no unit.
    static void put(V h, int n, F* to) {
        store_full(to, h);
        if constexpr (Factors<S>::depth > 1)
            for (int i = n; i < L; i++) to[i] = F{};
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
    const int64_t D, B, H, J, P;  // J blocks of L units make H; P values from state to state
    const Rows rows;
    const Plan plan;
    const int members;
    Inputs<C, S> inputs;
    const Array<A> weights;      // (D, J, H, G, L), H in multiply-adds
    const Array<A> bias;         // (D, J, G, L)
    const Array<F> state[2];     // (D, B, P)  h at even and odd steps, rounded to S
    const Array<A> cells;        // (D, B, J·L)
    const Array<F> zero;         // (P)
    const Array<const F*> from;  // (members, B)  the states that this step starts from
    const Array<A> products;     // (members, group, G, L)
};

}  // namespace rnn::cpu::RNN_ISA
