// The gates alone, for cells that others put together: both halves in, the new state out.
#pragma once

#include "math.h"
#include "storage.h"
#include "team.h"

namespace rnn::cpu::RNN_ISA {

// Registers of units that are worth a thread of their own.
constexpr int64_t gates_grain = 512;

// Calls work(row, u, n) for every row and every n units from u on.
template <class A, class F>
void each_unit(int64_t rows, int64_t H, int threads, F&& work) {
    constexpr int L = Vec<A>::size;
    const int64_t most = rows * ((H + L - 1) / L) / gates_grain + 1;
    const int members = most < threads ? int(most) : threads;
    with_team(members, [&](const Team& team) {
        team.each([&](int i) {
            const Range own = part(rows * H, members, i);
            for (int64_t e = own.begin; e < own.end;) {
                const int64_t row = e / H, u = e % H;
                int64_t n = H - u < own.end - e ? H - u : own.end - e;
                if (n > L) n = L;
                work(row, u, int(n));
                e += n;
            }
        });
    });
}

template <class C, class S>
void gates_forward(const GatesForward& f, int threads) {
    using A = compute_t<S>;
    using V = Vec<A>;
    constexpr int G = C::gates, K = C::saved;
    each_unit<A>(f.rows, f.H, threads, [&](int64_t row, int64_t u, int n) {
        V gx[G], gh[G], saved[K], h(A(0)), c(A(0));
        for (int g = 0; g < G; g++) {
            gx[g] = load((const S*)f.gx + (row * G + g) * f.H + u, n);
            gh[g] = load((const S*)f.gh + (row * G + g) * f.H + u, n);
        }
        const int64_t unit = row * f.H + u;
        (C::has_c ? c : h) = load((const S*)f.state + unit, n);

        h = C::forward(gx, gh, h, c, saved);

        store((S*)f.h + unit, h, n);
        if constexpr (C::has_c) {
            store((S*)f.c + unit, c, n);
            if (f.c_all) store((A*)f.c_all + unit, c, n);
        }
        if (f.saved)
            for (int k = 0; k < K; k++) store((A*)f.saved + (row * K + k) * f.H + u, saved[k], n);
    });
}

template <class C, class S>
void gates_backward(const GatesBackward& f, int threads) {
    using A = compute_t<S>;
    using V = Vec<A>;
    constexpr int G = C::gates, K = C::saved;
    each_unit<A>(f.rows, f.H, threads, [&](int64_t row, int64_t u, int n) {
        const int64_t unit = row * f.H + u;
        V saved[K], dgx[G], dgh[G], zero(A(0)), c = zero;
        for (int k = 0; k < K; k++) saved[k] = load((const A*)f.saved + (row * K + k) * f.H + u, n);
        const V before = load((const S*)f.state + unit, n);
        if constexpr (C::has_c) c = load((const A*)f.c_all + unit, n);
        V dh = f.dh ? load((const S*)f.dh + unit, n) : zero;
        V dc = f.dc ? load((const S*)f.dc + unit, n) : zero;

        dh = C::backward(saved, before, before, c, dh, dc, dgx, dgh);

        for (int g = 0; g < G; g++) {
            store((S*)f.dgx + (row * G + g) * f.H + u, dgx[g], n);
            if (f.dgh) store((S*)f.dgh + (row * G + g) * f.H + u, dgh[g], n);
        }
        store((S*)f.dstate + unit, C::has_c ? dc : dh, n);
    });
}

}  // namespace rnn::cpu::RNN_ISA
