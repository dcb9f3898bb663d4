// The step's matrix product, on register tiles of R rows × C vectors of columns.
//
// Weights stay where they are for all T steps, packed in columns of one vector that a tile reads
// as C streams; rows of the state come to them through one pointer each, so a row may be anywhere.
#pragma once

#include "storage.h"

namespace rnn::cpu::RNN_ISA {

// Rows in a tile: accumulators, one column of weights and a broadcast share the register file.
#if RNN_VECTOR_BYTES == 64 || defined(__aarch64__)
inline constexpr int vector_registers = 32;
#else
inline constexpr int vector_registers = 16;
#endif
constexpr int tile_rows(int columns) {
    const int accumulators = vector_registers == 32 ? 24 : 12;
    return accumulators / columns < 8 ? accumulators / columns : 8;
}

// out (R, C, V) = init (C, V) + a (R rows of K) · w (C, K, V)
template <class T, int R, int C>
void tile(int64_t K, const T* const* a, const T* w, const T* init, T* out) {
    using V = Vec<T>;
    // A fused multiply-add takes four cycles and two start in each: short tiles get more chains.
    constexpr int chains = R * C >= 8 ? 1 : (R * C >= 4 ? 2 : 4);
    V acc[chains][R][C];
    for (int u = 0; u < chains; u++)
        for (int r = 0; r < R; r++)
            for (int c = 0; c < C; c++)
                acc[u][r][c] = u || !init ? V(T(0)) : V::load(init + c * V::size);
    const T* row[R];
    for (int r = 0; r < R; r++) row[r] = a[r];

    const auto add = [&](int u, int64_t k) {
#pragma GCC unroll 4
        for (int c = 0; c < C; c++) {
            const V column = V::load(w + (c * K + k) * V::size);
#pragma GCC unroll 8
            for (int r = 0; r < R; r++) acc[u][r][c] = acc[u][r][c] + V(row[r][k]) * column;
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
            total.store(out + (r * C + c) * V::size);
        }
}

// tile<T, R, C> for an R known only at run time, 1 ≤ R ≤ tile_rows(C).
template <class T, int C, int R = tile_rows(C)>
RNN_HD void tile_of(int rows, int64_t K, const T* const* a, const T* w, const T* init, T* out) {
    if constexpr (R == 1) {
        tile<T, 1, C>(K, a, w, init, out);
    } else if (rows == R) {
        tile<T, R, C>(K, a, w, init, out);
    } else {
        tile_of<T, C, R - 1>(rows, K, a, w, init, out);
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

// Weights as a model stores them, (gates·H, H): the same product as dot products, for calls so
// short that packing would cost more than it saves. Units [u, u + n) of every gate; out (C, V).
template <class S, int C>
void dot_tile(int64_t H, const compute_t<S>* a, const S* w, int64_t u, int n,
              const compute_t<S>* init, compute_t<S>* out) {
    using T = compute_t<S>;
    using V = Vec<T>;
    for (int c = 0; c < C; c++)
        for (int v = 0; v < n; v += 4) {
            const int lanes = n - v < 4 ? n - v : 4;
            const S* row[4];
            for (int i = 0; i < 4; i++) row[i] = w + (c * H + u + v + (i < lanes ? i : 0)) * H;
            V acc[4] = {V(T(0)), V(T(0)), V(T(0)), V(T(0))};
            int64_t k = 0;
            for (; k + V::size <= H; k += V::size) {
                V x = V::load(a + k);
                for (int i = 0; i < 4; i++) acc[i] = acc[i] + x * load_full(row[i] + k);
            }
            if (const int rest = int(H - k)) {
                V x = load(a + k, rest);
                for (int i = 0; i < 4; i++) acc[i] = acc[i] + x * load(row[i] + k, rest);
            }
            for (int i = 0; i < lanes; i++) {
                T* o = out + c * V::size + v + i;
                *o = (init ? init[c * V::size + v + i] : T(0)) + sum(acc[i]);
            }
        }
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

// Weights (rows, K) to one packed column (K, V): rows [0, n), padded with zeros. The forward's
// product, h · Wᵀ, reads it.
template <class S>
void pack_rows(const S* w, int64_t K, int n, compute_t<S>* out) {
    using V = Vec<compute_t<S>>;
    std::memset(out, 0, sizeof(*out) * K * V::size);
    for (int64_t k = 0; k < K; k += V::size) {
        const int some = K - k < V::size ? int(K - k) : V::size;
        for (int v = 0; v < n; v++) {
            const V x = load(w + v * K + k, some);
            for (int i = 0; i < some; i++) out[(k + i) * V::size + v] = x.v[i];
        }
    }
}

// Weights (K, H) to packed columns (columns, K, V): elements [0, n) of each row, padded with zeros.
// Row by row, since rows may be pages apart. The backward's product, dgates · W, reads them.
template <class S>
void pack_columns(const S* w, int64_t H, int64_t K, int64_t n, compute_t<S>* out) {
    constexpr int64_t L = Vec<compute_t<S>>::size;
    for (int64_t k = 0; k < K; k++)
        for (int64_t u = 0; u < n; u += L)
            load(w + k * H + u, n - u < L ? int(n - u) : int(L)).store(out + u * K + k * L);
}

}  // namespace rnn::cpu::RNN_ISA
