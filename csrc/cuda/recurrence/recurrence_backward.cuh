// Backward: each block multiplies its own gates' gradients with the weights it keeps, and gives
// every unit's owner its part of the sum.
#pragma once

#include "backward_units.cuh"
#include "exchange.cuh"
#include "resident.cuh"

namespace rnn::cuda {

template <Cell C, class P, bool together, int E>
__global__ void __launch_bounds__(recurrence_threads, 1)
    recurrence_backward(const __grid_constant__ RecurrenceBackward p) {
    using S = storage_t<P>;
    constexpr int G = C::gates;
    const Layout& l = p.layout;
    const Share share(p.sizes, l, p.sequence);
    const int units = l.units, H = share.H, me = int(threadIdx.x), lane = me % 32;
    char* const shared = ptx::dynamic_shared<char>();
    const auto operand = [&](int i) { return shared + (i & 1) * l.operand_size; };
    const auto sums = [&](int i) {
        return SumsOf{reinterpret_cast<float*>(shared + l.sums + (i & 1) * l.sums_size),
                      l.sums_pitch, l.pairs};
    };
    // Whom units belong to, in eights: a division, right for as many as fit.
    const uint32_t owned = units / 8, inverse = 65536 / owned + 1;
    typename Peers<together>::type peers(
        shared + l.barriers, arriving_sums(l, share.rank) * uint32_t((share.rows + 1) / 2));

    const Resident<P, held_fragments(E, true, false, P::exact, C::gates)> weights(
        l, reinterpret_cast<uint4*>(shared + l.weights), reinterpret_cast<uint4*>(shared),
        [&](int m, int column) {
            const int g = column / units, from = share.unit + column % units;
            const int64_t row = int64_t(share.d) * H + m;
            return read_factors<P>(static_cast<const S*>(p.w) + (row * G + g) * H + from,
                                   m < H && g < G ? H - from : 0, p.aligned);
        });
    __syncthreads();
    for (int i = me; i < 2 * l.operand_size / 16; i += recurrence_threads)
        reinterpret_cast<uint4*>(shared)[i] = {};
    for (int i = me; i < 2 * l.sums_size / 16; i += recurrence_threads)
        reinterpret_cast<uint4*>(shared + l.sums)[i] = {};
    BackwardUnits<C, P, E> own(p, share);
    // What has come for an element.
    const auto total = [&](int i, const Element& at) {
        const SumsOf from = sums(i);
        const float* part = from.at(0, at.row, at.unit);
        float sum = 0;
#pragma unroll 8
        for (int slot = 0; slot < l.cluster * l.slots; slot++) {
            sum += *part;
            part += from.slot_size();
        }
        return sum;
    };
    meet<together>();

    int given = 0;  // rows of the step that sums come from; to others they bring nothing
    for (int i = 0; i < share.steps; i++) {
        // The gates' gradients, from what comes back from the step that states left for.
        if (i > 0) peers.wait(i - 1);
#pragma unroll
        for (int e = 0; e < E; e++) {
            const Element at = own.mine[e];
            if (at.row < 0) continue;
            typename P::Value r[G];
            own.step(e, at.row < given ? total(i - 1, at) : 0, r);
            S* const to = reinterpret_cast<S*>(operand(i) + at.row * l.operand_pitch) + at.unit;
#pragma unroll
            for (int g = 0; g < G; g++) to[g * units] = as_factor<P>(plain(r[g]));
        }
        given = own.walk.rows(share);
        if (i + 1 < share.steps) own.move();
        __syncthreads();

        // W_hhᵀ·dgates.
        const SumsOf given_to = sums(i);
        for (int first = 0; first < share.rows; first += 8) {
            const int row = first + lane % 4 * 2;
            weights.multiply_by(operand(i) + first * l.operand_pitch, l.operand_pitch,
                                share.rows - first, [&](int strip, int slot, const Sums& found) {
                                    if (row >= share.rows) return;
#pragma unroll
                                    for (int j = 0; j < 4; j++) {
                                        const uint32_t eight = uint32_t(strip) * 4 + j;
                                        const uint32_t owner = eight * inverse >> 16;
                                        if (owner >= uint32_t(l.cluster)) break;
                                        const float2 pair = of_two_rows(found, j);
                                        float* const to =
                                            given_to.at(share.rank * l.slots + slot, row,
                                                        int(eight - owner * owned) * 8 + lane / 4);
                                        if constexpr (together) {
                                            uint64_t bits;
                                            memcpy(&bits, &pair, sizeof(bits));
                                            ptx::store_async(ptx::at_peer(to, owner), bits,
                                                             ptx::at_peer(peers.here(i), owner));
                                        } else {
                                            *reinterpret_cast<float2*>(to) = pair;
                                        }
                                    }
                                });
        }
    }

    if (share.steps > 0) peers.wait(share.steps - 1);
#pragma unroll
    for (int e = 0; e < E; e++) {
        const Element at = own.mine[e];
        own.finish(e, at.row >= 0 && at.row < given ? total(share.steps - 1, at) : 0);
    }
}

}  // namespace rnn::cuda
