// Forward: h of all units goes around, each block multiplies it with the gates' weights it keeps.
#pragma once

#include "approximate.h"
#include "exchange.cuh"
#include "resident.cuh"

namespace rnn::cuda {

// What a step takes in, as it lies in memory: loaded a step ahead, and not touched until then, for
// that would wait for it.
template <Cell C, class S, int E>
struct StepInput {
    S x[E][C::gates];
    uint8_t cut[E];  // between this step and the next
};

template <Cell C, class S, bool together, int E>
__global__ void __launch_bounds__(recurrence_threads, 1)
    recurrence_forward(const __grid_constant__ RecurrenceForward p) {
    constexpr int G = C::gates, K = C::saved, width = full_width<S>;
    const Layout& l = p.layout;
    const Share share(p.sizes, l, p.sequence);
    const Elements<E> mine(share, l.units);
    const int units = l.units, H = share.H, me = int(threadIdx.x);
    const int lane = int(threadIdx.x % 32);
    char* const shared = ptx::dynamic_shared<char>();
    float* const bias = reinterpret_cast<float*>(shared + l.bias);  // (G, units)
    const SumsOf sums = {reinterpret_cast<float*>(shared + l.sums), l.sums_pitch, l.pairs};
    const auto operand = [&](int k) { return shared + (k & 1) * l.operand_size; };
    typename Peers<together>::type peers(shared + l.barriers,
                                         uint32_t(l.cluster * units * share.rows * int(sizeof(S))));

    const Resident<S, held_fragments<E, false>> weights(
        l, reinterpret_cast<uint4*>(shared + l.weights), reinterpret_cast<uint4*>(shared),
        [&](int m, int column) {
            const int unit = share.unit + m % units;
            const int64_t row = (int64_t(share.d) * G + m / units) * H + unit;
            return read_factors(static_cast<const S*>(p.w) + row * H + column,
                                m < G * units && unit < H ? H - column : 0, p.aligned);
        });
    __syncthreads();
    for (int i = me; i < G * units; i += recurrence_threads) {
        const int unit = share.unit + i % units;
        bias[i] = p.b_hh && unit < H
                      ? widen(static_cast<const S*>(p.b_hh)[(share.d * G + i / units) * H + unit])
                      : 0;
    }
    for (int i = me; i < 2 * l.operand_size / 16; i += recurrence_threads)
        reinterpret_cast<uint4*>(shared)[i] = {};
    for (int i = me; i < l.slots * sums.slot_size(); i += recurrence_threads) sums.values[i] = 0;
    __syncthreads();

    // Initial states; those that a reset cuts off are zero.
    for (int i = me; i < share.rows * H; i += recurrence_threads) {
        const int row = i / H, unit = i % H;
        const float h = widen(static_cast<const S*>(p.h0)[(share.state() + row) * H + unit]);
        reinterpret_cast<S*>(operand(0) + row * l.operand_pitch)[unit] =
            as_factor<S>(share.cut_at_start(row) ? 0 : h);
    }
    float h[E];
    Approximate c[E];
    int chunk[E];  // where what this lane sends lies in an operand, or -1
    constexpr int sent = 32 * int(sizeof(S)) / 16;  // pieces of 16 bytes that a warp has
#pragma unroll
    for (int e = 0; e < E; e++) {
        const Element at = mine[e];
        h[e] = 0, c[e] = 0;
        if (at.row >= 0 && !share.cut_at_start(at.row)) {
            const int64_t state = (share.state() + at.row) * H + share.unit + at.unit;
            h[e] = widen(static_cast<const S*>(p.h0)[state]);
            if constexpr (C::has_c) c[e] = widen(static_cast<const S*>(p.c0)[state]);
        }
        const int first = lane % sent * width;  // of the warp's elements: 8 units of a row, ...
        const Element sender(
            me - lane + e * recurrence_threads + first / 16 * 16 + first / 8 % 2 + first % 8 * 2,
            units);
        chunk[e] = sender.row < share.rows
                       ? sender.row * l.operand_pitch + (share.unit + sender.unit) * int(sizeof(S))
                       : -1;
    }

    Walk walk(share, share.d && share.steps ? share.steps - 1 : 0, share.d == 0);
    Start one(share, walk.first, H), gates(share, walk.first, G * H);
    Start others(share, walk.first, K * H);
    const Start& kept = K == G ? gates : others;
    StepInput<C, S, E> in;
    const auto load = [&] {
        const int rows = walk.rows(share), leave = walk.leave(share);
        const S* const gx = gates.in<S>(p.gx);
#pragma unroll
        for (int e = 0; e < E; e++) {
            const Element at = mine[e];
            in.cut[e] = 0;
            if (at.row < 0 || at.row >= rows) continue;
#pragma unroll
            for (int g = 0; g < G; g++) in.x[e][g] = gx[(at.row * share.D * G + g) * H + at.unit];
            if (share.sequence.resets && at.row < leave) in.cut[e] = walk.cut_out(share)[at.row];
        }
    };
    if (share.steps > 0) load();
    meet<together>();

    for (int k = 0; k < share.steps; k++) {
        // W_hh·h, of the rows that are there.
        const int rows = walk.rows(share);
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

        // The cell, and what is kept of this step.
        S* const stage = reinterpret_cast<S*>(shared + l.stage) + (me - lane) * E;
#pragma unroll
        for (int e = 0; e < E; e++) {
            const Element at = mine[e];
            if (at.row >= 0 && at.row < rows) {
                Approximate x[G], gh[G], s[K];
                const float* part = sums.at(0, at.row, at.unit);
#pragma unroll
                for (int g = 0; g < G; g++) {
                    x[g] = widen(in.x[e][g]);
                    gh[g] = part[g * units * 2] + bias[g * units + at.unit];
                }
#pragma unroll 1
                for (int slot = 1; slot < l.slots; slot++) {
                    part += sums.slot_size();
#pragma unroll
                    for (int g = 0; g < G; g++) gh[g] = gh[g] + part[g * units * 2];
                }
                S rounded;
                narrow(C::template forward<Approximate>(x, gh, h[e], c[e], s).value, rounded);
                h[e] = widen(rounded);
                const int row = at.row * share.D;
                one.in<S>(p.y)[row * H + at.unit] = rounded;
                if (p.saved) {
#pragma unroll
                    for (int i = 0; i < K; i++)
                        narrow(s[i].value, kept.in<S>(p.saved)[(row * K + i) * H + at.unit]);
                }
                if constexpr (C::has_c)
                    if (p.c_all) one.in<float>(p.c_all)[row * H + at.unit] = c[e].value;
                if (in.cut[e]) h[e] = 0, c[e] = 0;
            }
            // What goes on to the next step.
            if (together)
                stage[e * 32 + lane / 16 * 16 + lane % 2 * 8 + lane % 16 / 2] = as_factor<S>(h[e]);
            else if (at.row >= 0)
                reinterpret_cast<S*>(operand(k + 1) + at.row * l.operand_pitch)[at.unit] =
                    as_factor<S>(h[e]);
        }
        if (k + 1 == share.steps) break;
        if constexpr (together) {
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
        const int moved = walk.move(share);
        one.move(moved);
        gates.move(moved);
        others.move(moved);
        load();
    }

#pragma unroll
    for (int e = 0; e < E; e++) {
        const Element at = mine[e];
        if (at.row < 0) continue;
        const int64_t state = (share.state() + at.row) * H + share.unit + at.unit;
        narrow(h[e], static_cast<S*>(p.h_n)[state]);
        if constexpr (C::has_c) narrow(c[e].value, static_cast<S*>(p.c_n)[state]);
    }
}

}  // namespace rnn::cuda
