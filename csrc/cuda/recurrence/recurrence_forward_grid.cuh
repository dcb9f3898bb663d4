// Forward over a grid: y of the step before is read as it comes in, 8 rows at a time.
#pragma once

#include "forward_units.cuh"
#include "mail.cuh"
#include "recurrence_forward.cuh"
#include "spread.cuh"

namespace rnn::cuda {

template <Cell C, class P, int E>
__global__ void __launch_bounds__(recurrence_threads, 1)
    recurrence_forward_grid(const __grid_constant__ RecurrenceForward p) {
    using S = storage_t<P>;
    constexpr int width = full_width<S>;
    const Layout& l = p.layout;
    const Share share(p.sizes, l, p.sequence);
    const int units = l.units, H = share.H, lane = int(threadIdx.x % 32);
    char* const shared = ptx::dynamic_shared<char>();
    float* const bias = reinterpret_cast<float*>(shared + l.bias);
    S* const stage = reinterpret_cast<S*>(shared + l.stage) + int(threadIdx.x) - lane;
    const Spread<P, held_fragments(E, false, true, P::exact, C::gates), E == few_elements> weights(
        l, reinterpret_cast<uint4*>(shared + l.weights), reinterpret_cast<uint4*>(shared),
        [&](int m, int column) { return read_gates<C, P>(p, share, m, column); });
    ForwardUnits<C, P, E> own(p, share);
    __syncthreads();
    own.load_bias(bias);
    __syncthreads();
    // A row of all, among those that carry the mail.
    const auto mail = [&](int64_t row) {
        return static_cast<S*>(p.mail) + ((row + share.row) * share.D + share.d) * l.mail_units;
    };

    int64_t before = 0;  // the first row of all of the step that states come from
    int turn = 0;        // of the two buffers of sums
    for (int k = 0; k < share.steps; k++) {
        const int rows = own.walk.rows(share), arrive = own.walk.arrive(share);
        for (int first = 0; first < rows; first += 8) {
            // W_hh·h of up to 8 rows.
            const SumsOf sums = {
                reinterpret_cast<float*>(shared + l.sums + turn++ % 2 * l.sums_size), l.sums_pitch,
                4};
            const int row = first + lane / 4;
            const int bytes = (l.mail_units - weights.column()) * int(sizeof(S));
            Letters letters = {reinterpret_cast<const char*>(mail(before + row) + weights.column()),
                               row < arrive ? Letters::within(bytes)
                               : row < rows ? -1
                                            : 0};
            if (share.sequence.resets && row < own.walk.cuts(share))
                letters.cut = own.walk.cut_in(share)[row];
            const auto initial = [&](int piece) {
                const int unit = weights.column() + piece * 4 * width;
                const int64_t at = (share.state() + row) * H + unit;
                return read_factors<P>(static_cast<const S*>(p.h0) + at, letters.cut ? 0 : H - unit,
                                       false);
            };
            weights.multiply_by(letters, initial, [&](int strip, bool more, const Sums& found) {
                keep_sums(sums, strip, more, found);
            });
            __syncthreads();

            // The cell. All elements of a warp are of the same 8 rows.
#pragma unroll
            for (int e = 0; e < E; e++) {
                const Element sent = Pieces<S>::first(e, units);
                if (sent.row / 8 * 8 != first) continue;
                const Element at = own.mine[e];
                S h;
                narrow(0.0f, h);
                if (at.row >= 0 && at.row < rows)
                    h = own.template step<4>(e, sums.at(0, at.row - first, at.unit), l.slots,
                                             sums.slot_size(), bias, p.mail == p.y);
                stage[Pieces<S>::place()] = h;
                __syncwarp();
                if (lane < Pieces<S>::number && sent.row < rows &&
                    share.unit + sent.unit < l.mail_units)
                    post(mail(own.walk.first + sent.row) + share.unit + sent.unit,
                         reinterpret_cast<const uint4*>(stage)[lane]);
                __syncwarp();
            }
        }
        before = own.walk.first;
        if (k + 1 < share.steps) own.move();
    }
    own.finish();
}

}  // namespace rnn::cuda
