// Forward: h of all units goes around, each block multiplies it with the gates' weights it keeps.
#pragma once

#include "exchange.cuh"
#include "forward_units.cuh"
#include "resident.cuh"

namespace rnn::cuda {

// What is read of the weights: 16 bytes of the row of a gate, m = g·units + unit of the block.
template <Cell C, class P>
__device__ inline uint4 read_gates(const RecurrenceForward& p, const Share& share, int m,
                                   int column) {
    const int H = share.H, units = p.layout.units, unit = share.unit + m % units;
    const int64_t row = (int64_t(share.d) * C::gates + m / units) * H + unit;
    return read_factors<P>(static_cast<const storage_t<P>*>(p.w) + row * H + column,
                           m < C::gates * units && unit < H ? H - column : 0, p.aligned);
}

template <Cell C, class P, bool together, int E>
__global__ void __launch_bounds__(recurrence_threads, 1)
    recurrence_forward(const __grid_constant__ RecurrenceForward p) {
    using S = storage_t<P>;
    const Layout& l = p.layout;
    const Share share(p.sizes, l, p.sequence);
    const int units = l.units, H = share.H, me = int(threadIdx.x), lane = me % 32;
    char* const shared = ptx::dynamic_shared<char>();
    float* const bias = reinterpret_cast<float*>(shared + l.bias);
    const SumsOf sums = {reinterpret_cast<float*>(shared + l.sums), l.sums_pitch, l.pairs};
    const auto operand = [&](int k) { return shared + (k & 1) * l.operand_size; };
    typename Peers<together>::type peers(shared + l.barriers,
                                         uint32_t(l.cluster * units * share.rows * int(sizeof(S))));

    const Resident<P, held_fragments(E, false, false, P::exact, C::gates)> weights(
        l, reinterpret_cast<uint4*>(shared + l.weights), reinterpret_cast<uint4*>(shared),
        [&](int m, int column) { return read_gates<C, P>(p, share, m, column); });
    ForwardUnits<C, P, E> own(p, share);
    __syncthreads();
    own.load_bias(bias);
    for (int i = me; i < 2 * l.operand_size / 16; i += recurrence_threads)
        reinterpret_cast<uint4*>(shared)[i] = {};
    for (int i = me; i < l.slots * sums.slot_size(); i += recurrence_threads) sums.values[i] = 0;
    __syncthreads();
    for (int i = me; i < share.rows * H; i += recurrence_threads) {
        const int row = i / H, unit = i % H;
        const float h = widen(static_cast<const S*>(p.h0)[(share.state() + row) * H + unit]);
        reinterpret_cast<S*>(operand(0) + row * l.operand_pitch)[unit] =
            as_factor<P>(share.cut_at_start(row) ? 0 : h);
    }
    int chunk[E];  // where the piece that this lane sends lies in an operand, or -1
#pragma unroll
    for (int e = 0; e < E; e++) {
        const Element first = Pieces<S>::first(e, units);
        chunk[e] = first.row < share.rows
                       ? first.row * l.operand_pitch + (share.unit + first.unit) * int(sizeof(S))
                       : -1;
    }
    meet<together>();

    for (int k = 0; k < share.steps; k++) {
        // W_hh·h, of the rows that are there.
        const int rows = own.walk.rows(share);
        if (k > 0) peers.wait(k - 1);
        for (int first = 0; first < rows; first += 8) {
            const int row = first + lane % 4 * 2;
            float* const to = sums.at(0, row, lane / 4);
            weights.multiply_by(
                operand(k) + first * l.operand_pitch, l.operand_pitch, rows - first,
                [&](int strip, int slot, const Sums& found) {
                    if (row >= rows) return;
                    float* const pairs = to + slot * sums.slot_size() + strip * strip_rows * 2;
#pragma unroll
                    for (int i = 0; i < 4; i++)
                        *reinterpret_cast<float2*>(pairs + i * 16) = of_two_rows(found, i);
                });
        }
        __syncthreads();

        S* const stage = reinterpret_cast<S*>(shared + l.stage) + (me - lane) * E;
#pragma unroll
        for (int e = 0; e < E; e++) {
            const Element at = own.mine[e];
            if (at.row >= 0 && at.row < rows)
                own.template step<1>(e, sums.at(0, at.row, at.unit), l.slots, sums.slot_size(),
                                     bias);
            // What goes on to the next step.
            if (together)
                stage[e * 32 + Pieces<S>::place()] = as_factor<P>(own.h[e]);
            else if (at.row >= 0)
                reinterpret_cast<S*>(operand(k + 1) + at.row * l.operand_pitch)[at.unit] =
                    as_factor<P>(own.h[e]);
        }
        if (k + 1 == share.steps) break;
        if constexpr (together) {
            constexpr int sent = Pieces<S>::number;
            __syncwarp();
            const auto arrival = peers.here(k);
#pragma unroll
            for (int e = 0; e < E; e++) {
                if (chunk[e] < 0) continue;
                const uint4 bits = reinterpret_cast<const uint4*>(stage + e * 32)[lane % sent];
                const char* const to = operand(k + 1) + chunk[e];
#pragma unroll 1
                for (int i = lane / sent; i < l.cluster; i += 32 / sent) {
                    const int peer =
                        (i + share.rank) & (l.cluster - 1);  // not all to one at a time
                    ptx::store_async(ptx::at_peer(to, peer), bits, ptx::at_peer(arrival, peer));
                }
            }
        }
        own.move();
    }
    own.finish();
}

}  // namespace rnn::cuda
