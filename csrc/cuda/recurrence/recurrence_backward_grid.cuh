// Backward over a grid: all gates' gradients of the step before are read as they come in, 8 rows at
// a time, and multiplied with what they pass on to this block's units.
#pragma once

#include "backward_units.cuh"
#include "mail.cuh"
#include "spread.cuh"

namespace rnn::cuda {

template <Cell C, class P, int E>
__global__ void __launch_bounds__(recurrence_threads, 1)
    recurrence_backward_grid(const __grid_constant__ RecurrenceBackward p) {
    using S = storage_t<P>;
    constexpr int G = C::gates;
    const Layout& l = p.layout;
    const Share share(p.sizes, l, p.sequence);
    const int units = l.units, H = share.H, lane = int(threadIdx.x % 32);
    char* const shared = ptx::dynamic_shared<char>();
    S* const stage = reinterpret_cast<S*>(shared + l.stage) + (int(threadIdx.x) - lane) * G;
    const Spread<P, held_fragments(E, true, true, P::exact, C::gates), E == few_elements> weights(
        l, reinterpret_cast<uint4*>(shared + l.weights), reinterpret_cast<uint4*>(shared),
        [&](int m, int column) {
            const int unit = share.unit + m, g = column / l.mail_units;
            const int from = column % l.mail_units;
            const int64_t row = int64_t(share.d) * H + unit;
            return read_factors<P>(static_cast<const S*>(p.w) + (row * G + g) * H + from,
                                   m < units && unit < H && g < G ? H - from : 0, p.aligned);
        });
    BackwardUnits<C, P, E> own(p, share);
    __syncthreads();
    // Units of a gate, for a row of all. Those of the last gate may lie in an array of their own.
    const auto mail = [&](int64_t row, int g) {
        const int64_t at = (row + share.row) * share.D + share.d;
        if (p.mail_last && g == G - 1) return static_cast<S*>(p.mail_last) + at * l.mail_units;
        return static_cast<S*>(p.mail) + (at * G + g) * l.mail_units;
    };
    const bool posted = p.mail == p.dgx;

    int given = 0;       // rows of the step before
    int64_t before = 0;  // and its first, of all
    int turn = 0;        // of the two buffers of sums
    for (int i = 0; i <= share.steps; i++) {
        const bool last = i == share.steps;  // only the initial states are left
        const int rows = last ? 0 : own.walk.rows(share);
        const int end = last ? share.rows : rows > given ? rows : given;
        for (int first = 0; first < end; first += 8) {
            // W_hhᵀ·dgates of up to 8 rows.
            const SumsOf sums = {
                reinterpret_cast<float*>(shared + l.sums + turn++ % 2 * l.sums_size), l.sums_pitch,
                4};
            const int row = first + lane / 4;
            const int column = weights.column(), of_last = (G - 1) * l.mail_units;
            const auto within = [&](int units) {
                return Letters::within((units - column) * int(sizeof(S)));
            };
            Letters letters = {reinterpret_cast<const char*>(mail(before + row, 0) + column),
                               row < given ? max(within(G * l.mail_units), 0) : 0};
            if (p.mail_last) {
                letters.later =
                    reinterpret_cast<const char*>(mail(before + row, G - 1) + column - of_last);
                letters.at_from = within(of_last);
            }
            if (first < given)
                weights.multiply_by(
                    letters, [](int) { return uint4{}; },
                    [&](int strip, bool more, const Sums& found) {
                        keep_sums(sums, strip, more, found);
                    });
            __syncthreads();

            // The gates' gradients. All elements of a warp are of the same 8 rows.
#pragma unroll
            for (int e = 0; e < E; e++) {
                const Element sent = Pieces<S>::first(e, units);
                if (sent.row / 8 * 8 != first) continue;
                const Element at = own.mine[e];
                float come = 0;
                if (at.row >= 0 && at.row < given) {
                    const float* part = sums.at(0, at.row - first, at.unit);
#pragma unroll 2
                    for (int slot = 0; slot < l.slots; slot++)
                        come += part[slot * sums.slot_size()];
                }
                if (last) {
                    own.finish(e, come);
                    continue;
                }
                typename P::Value r[G] = {};
                if (at.row >= 0) own.step(e, come, r, posted);
#pragma unroll
                for (int g = 0; g < G; g++) narrow(plain(r[g]), stage[g * 32 + Pieces<S>::place()]);
                __syncwarp();
                if (lane < Pieces<S>::number && sent.row < rows &&
                    share.unit + sent.unit < l.mail_units) {
#pragma unroll
                    for (int g = 0; g < G; g++)
                        post(mail(own.walk.first + sent.row, g) + share.unit + sent.unit,
                             reinterpret_cast<const uint4*>(stage + g * 32)[lane]);
                }
                __syncwarp();
            }
        }
        if (last) break;
        given = rows;
        before = own.walk.first;
        if (i + 1 < share.steps) own.move();
    }
}

}  // namespace rnn::cuda
