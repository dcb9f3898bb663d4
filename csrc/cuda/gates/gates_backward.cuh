// Backward of the gates: gradients of both halves from those of the new states.
#pragma once

#include "tile.h"

namespace rnn::cuda {

template <Cell C, class S, int W>
__global__ void __launch_bounds__(block_threads) gates_backward(const GatesBackward p) {
    using A = compute_t<S>;
    using L = Lanes<A, W>;
    constexpr int G = C::gates, K = C::saved;
    const Unit at(W);
    const Step step = at.d ? p.steps[1] : p.steps[0];
    const int64_t H = p.sizes.H;
    if (at.b >= step.rows || at.j >= H) return;
    const int64_t row = (step.first + at.b) * p.sizes.D + at.d;  // of (N, D)
    const int64_t before = (step.before + at.b) * p.sizes.D + at.d;
    const int64_t state = at.d * p.sizes.B + at.b;  // of (D, B)
    const int64_t unit = state * H + at.j;
    const bool arrives = at.b < step.arrive, leaves = at.b < step.leave;
    const bool cut_in = p.resets && at.b < step.cuts_in && p.resets[step.cut_in + at.b];
    const bool cut_out = p.resets && leaves && p.resets[step.cut_out + at.b];
    const auto add = [](L& to, const L& x) {
#pragma unroll
        for (int i = 0; i < W; i++) to[i] += x[i];
    };

    // Gradients of the new states: from the step they left for, or from their end.
    L dh = {}, dc = {};
    if (leaves && !cut_out) {
        dh = load<W>(static_cast<const A*>(p.dh) + unit);
        if constexpr (C::mixes) add(dh, load<W>(static_cast<const A*>(p.direct) + unit));
        if constexpr (C::has_c) dc = load<W>(static_cast<const A*>(p.dc) + unit);
    }
    if (!leaves) {
        if (p.dh_n) dh = load<W>(static_cast<const S*>(p.dh_n) + unit);
        if constexpr (C::has_c)
            if (p.dc_n) dc = load<W>(static_cast<const S*>(p.dc_n) + unit);
    }
    if (p.dy) add(dh, load<W>(static_cast<const S*>(p.dy) + row * H + at.j));
    if constexpr (C::has_c)
        if (p.dc_all) add(dc, load<W>(static_cast<const A*>(p.dc_all) + row * H + at.j));

    // What the forward left.
    L saved[K], h = {}, c = {}, c_before = {};
#pragma unroll
    for (int k = 0; k < K; k++)
        saved[k] = load<W>(static_cast<const S*>(p.saved) + (row * K + k) * H + at.j);
    if ((C::mixes || p.h_before) && !cut_in)
        h = load<W>(arrives ? static_cast<const S*>(p.y) + before * H + at.j
                            : static_cast<const S*>(p.h0) + unit);
    if constexpr (C::has_c) {
        c = load<W>(static_cast<const A*>(p.c_all) + row * H + at.j);
        if (!cut_in)
            c_before = arrives ? load<W>(static_cast<const A*>(p.c_all) + before * H + at.j)
                               : load<W>(static_cast<const S*>(p.c0) + unit);
    }

    // The cell.
    L dgx[G], dgh[G], direct;
#pragma unroll
    for (int i = 0; i < W; i++) {
        A s[K], x[G], r[G];
#pragma unroll
        for (int k = 0; k < K; k++) s[k] = saved[k][i];
        direct[i] = C::backward(s, h[i], c_before[i], c[i], dh[i], dc[i], x, r);
#pragma unroll
        for (int g = 0; g < G; g++) dgx[g][i] = x[g], dgh[g][i] = r[g];
    }

    // For the products after the loop, and for the one of this step.
#pragma unroll
    for (int g = 0; g < G; g++) store<W>(static_cast<S*>(p.dgx) + (row * G + g) * H + at.j, dgx[g]);
    if constexpr (C::splits)
        if (p.dgh_last) store<W>(static_cast<S*>(p.dgh_last) + row * H + at.j, dgh[G - 1]);
    if (p.dgh) {
#pragma unroll
        for (int g = 0; g < G; g++)
            store<W>(static_cast<S*>(p.dgh) + (state * G + g) * H + at.j, dgh[g]);
    }
    if (p.h_before) store<W>(static_cast<S*>(p.h_before) + row * H + at.j, h);

    // For the step that the states came from. Of gates alone the gradient of h is wanted from any
    // cell without c: it is zero where none of it passes by W_hh.
    if constexpr (!C::has_c)
        if (p.dh0) store<W>(static_cast<S*>(p.dh0) + unit, direct);
    if constexpr (C::mixes)
        if (!p.dh0) store<W>(static_cast<A*>(p.direct) + unit, direct);
    if constexpr (C::has_c) {
        if (p.dc0)
            store<W>(static_cast<S*>(p.dc0) + unit, dc);
        else
            store<W>(static_cast<A*>(p.dc) + unit, dc);
    }
}

template <Cell C>
void launch_backward(const GatesBackward& p, Dtype storage, const Place& place) {
    with_storage(storage, [&]<class S>() {
        const auto run = [&]<int W>() {
            const Tiles tiles(p.sizes, p.steps, W);
            if (tiles.empty()) return;
            launch(
                place, {tiles.grid, tiles.block},
                [&] {
                    return describe(std::string(C::name) + " gates_backward", p.sizes, storage,
                                    tiles.in_words(), place.device);
                },
                gates_backward<C, S, W>, p);
        };
        if (aligned<S>(p.sizes.H,
                       {p.saved, p.c_all, p.h0, p.c0, p.y, p.dy, p.dc_all, p.dh_n, p.dc_n, p.dh,
                        p.direct, p.dc, p.dgx, p.dgh, p.dgh_last, p.h_before, p.dh0, p.dc0}))
            run.template operator()<full_width<S>>();
        else
            run.template operator()<1>();
    });
}

}  // namespace rnn::cuda
