// One step of one direction, straight from the weights as a model stores them: what a loop that
// feeds a cell its own state asks for again and again.
#pragma once

#include "dots.h"
#include "math.h"
#include "sizes.h"
#include "team.h"

namespace rnn::cpu::RNN_ISA {

// Multiply-adds that are worth a thread of their own.
constexpr int64_t step_grain = 50000;

template <class C, class S>
class StepPass {
    using A = compute_t<S>;
    using F = factor_t<S>;
    using V = Vec<A>;
    static constexpr int G = C::gates, K = C::saved, L = V::size;
    static constexpr int64_t group = 16;  // rows whose products wait for their gates
    static constexpr bool copied = !std::is_same_v<S, F>;

public:
    explicit StepPass(const Step& call)
        : f(call), J(blocks_of<V>(f.H)), copies(copied ? f.B * (f.I + f.H) : 0) {}

    void run(int threads) {
        if constexpr (copied)
            for (int64_t b = 0; b < f.B; b++) {
                convert((const S*)f.x + b * f.x_row, f.I, copies + b * (f.I + f.H));
                convert((const S*)f.h0 + b * f.H, f.H, copies + b * (f.I + f.H) + f.I);
            }
        const int64_t useful = f.B * G * f.H * (f.I + f.H) / step_grain + 1;
        const int64_t most = J < threads ? J : threads;
        const int members = int(useful < most ? useful : most);
        with_team(members, [&](const Team& team) {
            team.each([&](int i) {
                const Range own = part(J, members, i);
                for (int64_t j = own.begin; j < own.end; j++)
                    for (int64_t b = 0; b < f.B; b += group)
                        block(j, {b, f.B - b < group ? f.B : b + group});
            });
        });
    }

private:
    static void convert(const S* from, int64_t n, F* to) {
        for (int64_t k = 0; k < n; k++) to[k] = load(from + k, 1).v[0];
    }

    void block(int64_t j, Range some) const {
        alignas(64) A gx[group * G * L], gh[group * G * L], b_ih[G * L], b_hh[G * L];
        const F *x[group], *h[group];
        const int64_t u = j * L, count = some.size();
        const int n = f.H - u < L ? int(f.H - u) : L;
        for (int64_t r = 0; r < count; r++) {
            const int64_t b = some.begin + r;
            if constexpr (copied) {
                x[r] = copies + b * (f.I + f.H);
                h[r] = x[r] + f.I;
            } else {
                x[r] = (const S*)f.x + b * f.x_row;
                h[r] = (const S*)f.h0 + b * f.H;
            }
        }
        load_biases<C>((const S*)f.b_ih, (const S*)f.b_hh, f.H, u, n, b_ih, b_hh);
        multiply_unpacked<S, G>(count, f.I, x, (const S*)f.w_ih + u * f.I, f.H, n, b_ih, gx);
        multiply_unpacked<S, G>(count, f.H, h, (const S*)f.w_hh + u * f.H, f.H, n, b_hh, gh);
        for (int64_t r = 0; r < count; r++)
            gates((some.begin + r) * f.H, u, n, gx + r * G * L, gh + r * G * L);
    }

    void gates(int64_t row, int64_t u, int n, const A* half, const A* products) const {
        V gx[G], gh[G], saved[K], c(0), h(0);
        for (int g = 0; g < G; g++) {
            gx[g] = V::load(half + g * L);
            gh[g] = V::load(products + g * L);
        }
        if constexpr (C::mixes) h = load((const S*)f.h0 + row + u, n);
        if constexpr (C::has_c) c = load((const S*)f.c0 + row + u, n);

        h = C::forward(gx, gh, h, c, saved);

        store((S*)f.h + row + u, h, n);
        if (f.y) store((S*)f.y + row + u, h, n);
        if constexpr (C::has_c) {
            store((S*)f.c + row + u, c, n);
            if (f.c_all) store((A*)f.c_all + row + u, c, n);
        }
        for (int k = 0; f.saved && k < K; k++)
            store((A*)f.saved + row * K + k * f.H + u, saved[k], n);
    }

    const Step& f;
    const int64_t J;        // blocks of L units make H
    const Array<F> copies;  // (B, I + H)  rows of x and h, as factors
};

}  // namespace rnn::cpu::RNN_ISA
