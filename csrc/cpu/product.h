// The step's matrix product, on register tiles of R rows × C vectors of columns.
//
// Weights stay where they are for all T steps, packed in panels of C columns that a tile reads as
// one stream; rows come to them through one pointer each, so a row may be anywhere.
#pragma once

#include "factors.h"

namespace rnn::cpu::RNN_ISA {

// Rows in a tile: accumulators, one row of weights and a broadcast share the register file.
#if RNN_VECTOR_BYTES == 64 || defined(__aarch64__)
inline constexpr int vector_registers = 32;
#else
inline constexpr int vector_registers = 16;
#endif
constexpr int tile_rows(int columns) {
    const int accumulators = vector_registers == 32 ? 24 : 12;
    return accumulators / columns < 8 ? accumulators / columns : 8;
}

// Depth of weights that a tile takes at once. Columns of weights stay near while all rows pass; and
// longer runs of small terms in one register would round more than a vendor's product does.
inline constexpr int64_t deepest = 256;

// out (R, P, L) += rows (R, K) · w (K, P, L), C columns of the P. Starts from `init` (P, L)
// instead, if there is one; K counts multiply-adds.
template <class S, int R, int C, int P = C>
void tile(int64_t K, const factor_t<S>* const* rows, const compute_t<S>* w,
          const compute_t<S>* init, compute_t<S>* out) {
    using F = Factors<S>;
    using V = typename F::V;
    constexpr int L = V::size;
    // A fused multiply-add takes four cycles and two start in each: short tiles get more chains.
    constexpr int chains = R * C >= 8 ? 1 : (R * C >= 4 ? 2 : 4);
    V acc[chains][R][C];
    for (int u = 0; u < chains; u++)
        for (int r = 0; r < R; r++)
            for (int c = 0; c < C; c++) acc[u][r][c] = u || !init ? V(0) : V::load(init + c * L);
    const factor_t<S>* row[R];
    for (int r = 0; r < R; r++) row[r] = rows[r];

    const auto add = [&](int u, int64_t k) {
        V column[C];
#pragma GCC unroll 4
        for (int c = 0; c < C; c++) column[c] = V::load(w + (k * P + c) * L);
#pragma GCC unroll 8
        for (int r = 0; r < R; r++) {
            const V x = F::everywhere(row[r] + k * F::depth);
#pragma GCC unroll 4
            for (int c = 0; c < C; c++) acc[u][r][c] = F::multiply_add(x, column[c], acc[u][r][c]);
        }
    };
    int64_t k = 0;
    for (; k + chains <= K; k += chains)
#pragma GCC unroll 4
        for (int u = 0; u < chains; u++) add(u, k + u);
    for (; k < K; k++) add(0, k);

    for (int r = 0; r < R; r++)
        for (int c = 0; c < C; c++) {
            V total = acc[0][r][c];
            for (int u = 1; u < chains; u++) total = total + acc[u][r][c];
            if (!init) total = V::load(out + (r * P + c) * L) + total;
            total.store(out + (r * P + c) * L);
        }
}

// tile<S, R, C> for an R known only at run time, 1 ≤ R ≤ tile_rows(C).
template <class S, int C, int R = tile_rows(C)>
RNN_HD void tile_of(int n, int64_t K, const factor_t<S>* const* rows, const compute_t<S>* w,
                    const compute_t<S>* init, compute_t<S>* out) {
    if constexpr (R == 1) {
        tile<S, 1, C>(K, rows, w, init, out);
    } else if (n == R) {
        tile<S, R, C>(K, rows, w, init, out);
    } else {
        tile_of<S, C, R - 1>(n, K, rows, w, init, out);
    }
}

// Any number of rows: out (n, C, L) = init (C, L) + rows (n, K) · w (K, C, L).
template <class S, int C>
void multiply(int64_t n, int64_t K, const factor_t<S>* const* rows, const compute_t<S>* w,
              const compute_t<S>* init, compute_t<S>* out) {
    constexpr int L = Vec<compute_t<S>>::size, R = tile_rows(C), D = Factors<S>::depth;
    const int tiles = int((n + R - 1) / R);
    for (int64_t k = 0; k == 0 || k < K; k += deepest) {
        const int64_t some = K - k < deepest ? K - k : deepest;
        const compute_t<S>*from = w + k * C * L, *start = k ? nullptr : init;
        const factor_t<S>* some_rows[8];
        // Eight rows are a usual batch. In halves of 4 each would read all weights again; in halves
        // of the columns each half of the weights is read once.
        if constexpr (C == 4 && R == 6) {
            if (n == 8) {
                for (int r = 0; r < 8; r++) some_rows[r] = rows[r] + k * D;
                for (int c = 0; c < C; c += 2)
                    tile<S, 8, 2, C>(some, some_rows, from + c * L, start ? start + c * L : nullptr,
                                     out + c * L);
                continue;
            }
        }
        for (int i = 0; i < tiles; i++) {
            const Range own = part(n, tiles, i);
            for (int64_t r = own.begin; r < own.end; r++)
                some_rows[r - own.begin] = rows[r] + k * D;
            tile_of<S, C>(int(own.end - own.begin), some, some_rows, from, start,
                          out + own.begin * C * L);
        }
    }
}

// work<W>() for a width W known only at run time, 1 ≤ W ≤ N.
template <int N, class F>
RNN_HD void with_width(int width, F&& work) {
    if constexpr (N == 1) {
        work.template operator()<1>();
    } else if (width == N) {
        work.template operator()<N>();
    } else {
        with_width<N - 1>(width, work);
    }
}

}  // namespace rnn::cpu::RNN_ISA
