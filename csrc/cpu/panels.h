// Packing: weights as a model stores them, to the panels that tiles read.
#pragma once

#include "factors.h"

namespace rnn::cpu::RNN_ISA {

// Rows [0, n) of w (M, K) to column c of a panel (K, C, L), padded with zeros. The forward's
// product, h · Wᵀ, reads it. K in values; a panel's row has as many of them as a multiply-add
// takes.
template <class S>
void pack_rows(const S* w, int64_t K, int n, int C, int c, compute_t<S>* panel) {
    using F = Factors<S>;
    using V = typename F::V;
    constexpr int L = V::size, step = L * F::depth;
    for (int64_t k = 0; k < K; k += step) {
        V x[L];
        const int some = K - k < step ? int(K - k) : step;
        for (int v = 0; v < L; v++)
            x[v] = v >= n ? V(0)
                          : (some == step ? F::weights(w + v * K + k)
                                          : F::weights(w + v * K + k, some));
        transpose(x);
        const int64_t first = k / F::depth, rows = depths<S>(some);
        for (int64_t i = 0; i < rows; i++) x[i].store(panel + ((first + i) * C + c) * L);
    }
}

// Columns [0, n) of w (K, H) to a panel (K, C, L) of `C` columns, padded with zeros. Row by row,
// since rows may be pages apart. The backward's product, dgates · W, reads it.
template <class S>
void pack_columns(const S* w, int64_t H, int64_t K, int64_t n, int C, compute_t<S>* panel) {
    constexpr int64_t L = Vec<compute_t<S>>::size;
    for (int64_t k = 0; k < K; k++)
        for (int64_t c = 0; c < C; c++) {
            const int64_t there = n - c * L;
            load(w + k * H + c * L, there < 0 ? 0 : (there < L ? int(there) : int(L)))
                .store(panel + (k * C + c) * L);
        }
}

}  // namespace rnn::cpu::RNN_ISA
