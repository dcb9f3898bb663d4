// The same products on weights as a model stores them, (M, K): dot products along K, for calls so
// short that packing would cost more than it saves.
#pragma once

#include "factors.h"

namespace rnn::cpu::RNN_ISA {

// U weights' rows with R rows, one register full of sums: lane u·R + r. Rows that are not there
// repeat the last one; n of the units are there.
template <class S, int U, int R>
RNN_HD Vec<compute_t<S>> dots(int64_t K, const S* w, int n, const factor_t<S>* const* rows) {
    using F = Factors<S>;
    using V = typename F::V;
    constexpr int step = V::size * F::depth;
    const S* weights[U];
    V acc[U * R];
#pragma GCC unroll 16
    for (int u = 0; u < U; u++) weights[u] = w + (u < n ? u : n - 1) * K;
#pragma GCC unroll 16
    for (int i = 0; i < U * R; i++) acc[i] = V(0);
    int64_t k = 0;
    for (; k + step <= K; k += step) {
        V x[R];
        for (int r = 0; r < R; r++) x[r] = F::values(rows[r] + k);
#pragma GCC unroll 16
        for (int u = 0; u < U; u++) {
            const V column = F::weights(weights[u] + k);
            for (int r = 0; r < R; r++)
                acc[u * R + r] = F::multiply_add(x[r], column, acc[u * R + r]);
        }
    }
    if (const int rest = int(K - k)) {
        V x[R];
        for (int r = 0; r < R; r++) x[r] = F::values(rows[r] + k, rest);
#pragma GCC unroll 16
        for (int u = 0; u < U; u++) {
            const V column = F::weights(weights[u] + k, rest);
            for (int r = 0; r < R; r++)
                acc[u * R + r] = F::multiply_add(x[r], column, acc[u * R + r]);
        }
    }
    return sums(acc);
}

// The first `units` of L rows of weights from w on, with R rows: out[r·stride + unit], from
// init[unit] on.
template <class S, int R>
RNN_HD void dot_rows(int64_t K, const S* w, int units, const factor_t<S>* const* rows, int present,
                     int64_t stride, const compute_t<S>* init, compute_t<S>* out) {
    using V = Vec<compute_t<S>>;
    constexpr int L = V::size, U = L / R;
    for (int u = 0; u < units; u += U) {
        const V found = dots<S, U, R>(K, w + u * K, units - u, rows);
        if constexpr (R == 1) {
            (V::load(init) + found).store(out);
        } else {
            for (int i = 0; i < U; i++)
                for (int r = 0; r < present; r++)
                    out[r * stride + u + i] = init[u + i] + found.v[i * R + r];
        }
    }
}

// C columns of L rows of weights, the first of them w + c·H·K: out (n, C, L), from init (C, L) on.
// Of each column `units` are there; what the others hold is arbitrary.
template <class S, int C>
void multiply_unpacked(int64_t n, int64_t K, const factor_t<S>* const* rows, const S* w, int64_t H,
                       int units, const compute_t<S>* init, compute_t<S>* out) {
    constexpr int L = Vec<compute_t<S>>::size, most = L < 4 ? L : 4;
    for (int c = 0; c < C; c++) {
        const S* column = w + c * H * K;
        for (int64_t r = 0; r < n; r += most) {
            const int present = n - r < most ? int(n - r) : most;
            const factor_t<S>* some[most];
            for (int i = 0; i < most; i++) some[i] = rows[r + (i < present ? i : present - 1)];
            compute_t<S>* to = out + (r * C + c) * L;
            if (present == 1) {
                dot_rows<S, 1>(K, column, units, some, 1, C * L, init + c * L, to);
            } else if (present == 2) {
                dot_rows<S, 2>(K, column, units, some, 2, C * L, init + c * L, to);
            } else {
                dot_rows<S, most>(K, column, units, some, present, C * L, init + c * L, to);
            }
        }
    }
}

// (G, L) of a vector (G·H), or zeros.
template <class S, int G>
void load_gates(const S* b, int64_t H, int64_t unit, int n, compute_t<S>* out) {
    for (int g = 0; g < G; g++)
        load(b + (b ? g * H + unit : 0), b ? n : 0).store(out + g * Vec<compute_t<S>>::size);
}

// Biases (G·H), or null, of units [unit, unit + n) as (G, L). A cell that keeps the halves of its
// gates apart has one for each; for the others both go to the recurrent half, as one number of S.
template <class C, class S>
void load_biases(const S* b_ih, const S* b_hh, int64_t H, int64_t unit, int n, compute_t<S>* input,
                 compute_t<S>* recurrent) {
    using V = Vec<compute_t<S>>;
    constexpr int G = C::gates, L = V::size;
    load_gates<S, G>(C::splits ? b_ih : nullptr, H, unit, n, input);
    load_gates<S, G>(b_hh, H, unit, n, recurrent);
    if (C::splits || !b_ih) return;
    alignas(64) compute_t<S> more[G * L];
    load_gates<S, G>(b_ih, H, unit, n, more);
    for (int g = 0; g < G * L; g += L)
        round_to<S>(V::load(recurrent + g) + V::load(more + g)).store(recurrent + g);
}

// The backward's product on weights as a model stores them, (K, H): units [0, n) from w on, one row
// of K values in a, out (L).
template <class S>
RNN_HD void row_tile(int64_t H, int64_t K, const compute_t<S>* a, const S* w, int n,
                     compute_t<S>* out) {
    using V = Vec<compute_t<S>>;
    V even(compute_t<S>(0)), odd(compute_t<S>(0));
    int64_t k = 0;
    for (; k + 2 <= K; k += 2) {
        even = even + V(a[k]) * load(w + k * H, n);
        odd = odd + V(a[k + 1]) * load(w + (k + 1) * H, n);
    }
    if (k < K) even = even + V(a[k]) * load(w + k * H, n);
    (even + odd).store(out);
}

}  // namespace rnn::cpu::RNN_ISA
