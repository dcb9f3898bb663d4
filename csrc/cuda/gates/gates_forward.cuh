// Forward of the gates: one step of a cell from both halves of its gates.
#pragma once

#include "tile.h"

namespace rnn::cuda {

template <Cell C, class S, class P, int W>
__global__ void __launch_bounds__(block_threads) gates_forward(const GatesForward p) {
    using A = compute_t<S>;
    using L = Lanes<A, W>;
    constexpr int G = C::gates, K = C::saved;
    const Unit at(W);
    const Step step = at.d ? p.steps[1] : p.steps[0];
    const int64_t H = p.sizes.H;
    if (at.b >= step.rows || at.j >= H) return;
    const int64_t row = (step.first + at.b) * p.sizes.D + at.d;  // of (N, D)
    const int64_t state = at.d * p.sizes.B + at.b;               // of (D, B)
    const int64_t unit = state * H + at.j;

    // Both halves of the gates, and the states before.
    L gx[G], gh[G], h = {}, c = {}, saved[K];
#pragma unroll
    for (int g = 0; g < G; g++) {
        gx[g] = load<W>(static_cast<const S*>(p.gx) + (row * G + g) * H + at.j);
        gh[g] = load<W>(static_cast<const P*>(p.gh) + (state * G + g) * H + at.j);
    }
    if (p.b_hh) {
#pragma unroll
        for (int g = 0; g < G; g++) {
            const L b = load<W>(static_cast<const S*>(p.b_hh) + (at.d * G + g) * H + at.j);
#pragma unroll
            for (int i = 0; i < W; i++) gh[g][i] += b[i];
        }
    }
    if constexpr (C::mixes) h = load<W>(static_cast<const S*>(p.h) + unit);
    if constexpr (C::has_c)
        c = p.c0 ? load<W>(static_cast<const S*>(p.c0) + unit)
                 : load<W>(static_cast<const A*>(p.c) + unit);

    // The cell.
#pragma unroll
    for (int i = 0; i < W; i++) {
        A x[G], r[G], s[K];
#pragma unroll
        for (int g = 0; g < G; g++) x[g] = gx[g][i], r[g] = gh[g][i];
        h[i] = C::forward(x, r, h[i], c[i], s);
#pragma unroll
        for (int k = 0; k < K; k++) saved[k][i] = s[k];
    }

    // What is kept of this step.
    store<W>(static_cast<S*>(p.y) + row * H + at.j, h);
    if (p.saved) {
#pragma unroll
        for (int k = 0; k < K; k++)
            store<W>(static_cast<S*>(p.saved) + (row * K + k) * H + at.j, saved[k]);
    }
    if constexpr (C::has_c)
        if (p.c_all) store<W>(static_cast<A*>(p.c_all) + row * H + at.j, c);

    // What goes on to the next step.
    if (p.resets && at.b < step.leave && p.resets[step.cut_out + at.b]) h = c = {};
    if (p.h_n) store<W>(static_cast<S*>(p.h_n) + unit, h);
    if constexpr (C::has_c) {
        if (p.c) store<W>(static_cast<A*>(p.c) + unit, c);
        if (p.c_n) store<W>(static_cast<S*>(p.c_n) + unit, c);
    }
}

template <Cell C>
void launch_forward(const GatesForward& p, Dtype storage, Dtype product, const Place& place) {
    with_storage(storage, [&]<class S>() {
        const auto run = [&]<class P, int W>() {
            const Tiles tiles(p.sizes, p.steps, W);
            if (tiles.empty()) return;
            launch(
                place, {tiles.grid, tiles.block},
                [&] {
                    return describe(std::string(C::name) + " gates_forward", p.sizes, storage,
                                    tiles.in_words(), place.device);
                },
                gates_forward<C, S, P, W>, p);
        };
        const bool wide = aligned<S>(
            p.sizes.H, {p.gx, p.gh, p.b_hh, p.h, p.c0, p.c, p.h_n, p.c_n, p.y, p.c_all, p.saved});
        const auto with_product = [&]<class P>() {
            if (wide)
                run.template operator()<P, full_width<S>>();
            else
                run.template operator()<P, 1>();
        };
        if (product == storage)
            with_product.template operator()<S>();
        else
            with_product.template operator()<compute_t<S>>();
    });
}

}  // namespace rnn::cuda
