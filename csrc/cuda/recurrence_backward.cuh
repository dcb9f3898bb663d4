// Backward: each block multiplies its own gates' gradients with the weights it keeps, and gives
// every unit's owner its part of the sum.
#pragma once

#include "approximate.h"
#include "exchange.cuh"
#include "resident.cuh"

namespace rnn::cuda {

// What a step takes in, as it lies in memory: loaded a step ahead, and not touched until then, for
// that would wait for it.
template <Cell C, class S, int E>
struct StepGradients {
    S saved[E][C::saved], dy[E], h[E];  // h: before the step
    float c[E], c_before[E];
    uint8_t cut_in[E], cut_out[E];  // between this step and the one before, and the next
};

template <Cell C, class S, bool together, int E>
__global__ void __launch_bounds__(recurrence_threads, 1)
    recurrence_backward(const __grid_constant__ RecurrenceBackward p) {
    constexpr int G = C::gates, K = C::saved;
    const Layout& l = p.layout;
    const Share share(p.sizes, l, p.sequence);
    const Elements<E> mine(share, l.units);
    const int units = l.units, H = share.H, me = int(threadIdx.x);
    const int lane = int(threadIdx.x % 32);
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

    const Resident<S, held_fragments<E, true>> weights(
        l, reinterpret_cast<uint4*>(shared + l.weights), reinterpret_cast<uint4*>(shared),
        [&](int m, int column) {
            const int g = column / units, from = share.unit + column % units;
            const int64_t row = int64_t(share.d) * H + m;
            return read_factors(static_cast<const S*>(p.w) + (row * G + g) * H + from,
                                m < H && g < G ? H - from : 0, p.aligned);
        });
    __syncthreads();
    for (int i = me; i < 2 * l.operand_size / 16; i += recurrence_threads)
        reinterpret_cast<uint4*>(shared)[i] = {};
    for (int i = me; i < 2 * l.sums_size / 16; i += recurrence_threads)
        reinterpret_cast<uint4*>(shared + l.sums)[i] = {};

    // Gradients of the final states wait for their row's last step.
    float direct[E];
    Approximate dc[E];
#pragma unroll
    for (int e = 0; e < E; e++) {
        const Element at = mine[e];
        direct[e] = 0, dc[e] = 0;
        if (at.row < 0) continue;
        const int64_t state = (share.state() + at.row) * H + share.unit + at.unit;
        if (p.dh_n) direct[e] = widen(static_cast<const S*>(p.dh_n)[state]);
        if constexpr (C::has_c)
            if (p.dc_n) dc[e] = widen(static_cast<const S*>(p.dc_n)[state]);
    }

    Walk walk(share, share.d || !share.steps ? 0 : share.steps - 1, share.d == 1);
    Start one(share, walk.first, H), gates(share, walk.first, G * H);
    Start others(share, walk.first, K * H);
    const Start& kept = K == G ? gates : others;
    StepGradients<C, S, E> in;
    const auto load = [&] {
        const int rows = walk.rows(share), arrive = walk.arrive(share), leave = walk.leave(share);
        const int64_t back = int64_t(walk.back(share)) * share.D * H;
#pragma unroll
        for (int e = 0; e < E; e++) {
            const Element at = mine[e];
            in.cut_in[e] = in.cut_out[e] = 0;
            if (at.row < 0 || at.row >= rows) continue;
            const int row = at.row * share.D, here = row * H + at.unit;
#pragma unroll
            for (int i = 0; i < K; i++)
                in.saved[e][i] = kept.in<S>(p.saved)[(row * K + i) * H + at.unit];
            if (p.dy) in.dy[e] = one.in<S>(p.dy)[here];
            if constexpr (C::has_c) in.c[e] = one.in<float>(p.c_all)[here];
            if (at.row < arrive) {
                if (C::mixes || p.h_before) in.h[e] = one.in<S>(p.y)[here + back];
                if constexpr (C::has_c) in.c_before[e] = one.in<float>(p.c_all)[here + back];
            } else {
                const int64_t state = (share.state() + at.row) * H + share.unit + at.unit;
                if (C::mixes || p.h_before) in.h[e] = static_cast<const S*>(p.h0)[state];
                if constexpr (C::has_c) in.c_before[e] = widen(static_cast<const S*>(p.c0)[state]);
            }
            if (share.sequence.resets) {
                if (at.row < walk.cuts(share)) in.cut_in[e] = walk.cut_in(share)[at.row];
                if (at.row < leave) in.cut_out[e] = walk.cut_out(share)[at.row];
            }
        }
    };
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
    if (share.steps > 0) load();
    meet<together>();

    int given = 0;  // rows of the step that sums come from; to others they bring nothing
    for (int i = 0; i < share.steps; i++) {
        // The gates' gradients, from what comes back from the step that states left for.
        if (i > 0) peers.wait(i - 1);
        const int rows = walk.rows(share);
#pragma unroll
        for (int e = 0; e < E; e++) {
            const Element at = mine[e];
            if (at.row < 0) continue;
            float dh = direct[e];
            Approximate x[G] = {}, r[G] = {};
            if (at.row < given) dh += total(i - 1, at);
            direct[e] = dh;
            if (at.row < rows) {
                const int row = at.row * share.D, here = row * H + at.unit;
                Approximate s[K];
                float h = 0, c_before = 0;
#pragma unroll
                for (int j = 0; j < K; j++) s[j] = widen(in.saved[e][j]);
                if (!in.cut_in[e]) {
                    if (C::mixes || p.h_before) h = widen(in.h[e]);
                    c_before = in.c_before[e];
                }
                if (in.cut_out[e]) dh = 0, dc[e] = 0;
                if (p.dy) dh += widen(in.dy[e]);
                if constexpr (C::has_c)
                    if (p.dc_all) dc[e] = dc[e] + one.in<float>(p.dc_all)[here];
                direct[e] =
                    C::template backward<Approximate>(s, h, c_before, in.c[e], dh, dc[e], x, r)
                        .value;
#pragma unroll
                for (int g = 0; g < G; g++)
                    narrow(x[g].value, gates.in<S>(p.dgx)[(row * G + g) * H + at.unit]);
                if constexpr (C::splits)
                    if (p.dgh_last) narrow(r[G - 1].value, one.in<S>(p.dgh_last)[here]);
                if (p.h_before) narrow(h, one.in<S>(p.h_before)[here]);
            }
            S* const to = reinterpret_cast<S*>(operand(i) + at.row * l.operand_pitch) + at.unit;
#pragma unroll
            for (int g = 0; g < G; g++) to[g * units] = as_factor<S>(r[g].value);
        }
        given = rows;
        if (i + 1 < share.steps) {
            const int moved = walk.move(share);
            one.move(moved);
            gates.move(moved);
            others.move(moved);
            load();
        }
        __syncthreads();

        // W_hhᵀ·dgates.
        const SumsOf given = sums(i);
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
                                            given.at(share.rank * l.slots + slot, row,
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
        const Element at = mine[e];
        if (at.row < 0) continue;
        const int64_t state = (share.state() + at.row) * H + share.unit + at.unit;
        float dh = direct[e];
        if (at.row < given) dh += total(share.steps - 1, at);
        if (share.cut_at_start(at.row)) dh = 0, dc[e] = 0;
        narrow(dh, static_cast<S*>(p.dh0)[state]);
        if constexpr (C::has_c) narrow(dc[e].value, static_cast<S*>(p.dc0)[state]);
    }
}

}  // namespace rnn::cuda
