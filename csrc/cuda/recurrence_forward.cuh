// Forward: h of all units goes around, each block multiplies it with the gates' weights it keeps.
#pragma once

#include "exchange.cuh"
#include "resident.cuh"

namespace rnn::cuda {

// What a step takes in, loaded a step ahead.
template <Cell C, int E>
struct StepInput {
    float x[E][C::gates];
    bool cut[E];  // between this step and the next
};

template <Cell C, class S, bool together, int E>
__global__ void __launch_bounds__(recurrence_threads, 1)
    recurrence_forward(const RecurrenceForward p) {
    constexpr int G = C::gates, K = C::saved, width = full_width<S>;
    const Layout& l = p.layout;
    const int units = l.units;
    const Share share(p.sizes, l, p.sequence);
    const Elements<E> mine(share, units);
    const int64_t H = share.H;
    const int me = threadIdx.x, lane = me % 32;
    char* const shared = ptx::dynamic_shared<char>();
    float* const bias = reinterpret_cast<float*>(shared + l.bias);  // (G, units)
    const SumsOf sums = {reinterpret_cast<float*>(shared + l.sums), l.sums_pitch, 4 * l.tiles};
    const auto operand = [&](int64_t k) { return shared + k % 2 * l.operand_size; };
    typename Peers<together>::type peers(shared + l.barriers,
                                         l.cluster * units * share.rows * sizeof(S));

    const Resident<S, held_fragments<E>> weights(
        l, reinterpret_cast<uint4*>(shared + l.weights), [&](int m, int column) {
            const int64_t unit = share.unit + m % units;
            const int64_t row = (int64_t(share.d) * G + m / units) * H + unit;
            const bool there = m < G * units && unit < H;
            return read_factors(static_cast<const S*>(p.w) + row * H + column,
                                there ? H - column : 0, p.aligned);
        });
    for (int i = me; i < G * units; i += recurrence_threads) {
        const int64_t unit = share.unit + i % units;
        bias[i] = p.b_hh && unit < H
                      ? widen(static_cast<const S*>(p.b_hh)[(share.d * G + i / units) * H + unit])
                      : 0;
    }

    // Initial states; those that a reset cuts off are zero.
    const auto cut_at_start = [&](int row) {
        return share.sequence.resets && share.d == 0 && share.row + row < share.count(0) &&
               share.cut(share.row + row);
    };
    for (int i = me; i < 2 * l.operand_size / 16; i += recurrence_threads)
        reinterpret_cast<uint4*>(shared)[i] = {};
    for (int i = me; i < l.slots * sums.pairs * sums.pitch * 2; i += recurrence_threads)
        sums.values[i] = 0;
    __syncthreads();
    for (int64_t i = me; i < share.rows * H; i += recurrence_threads) {
        const int row = int(i / H), unit = int(i % H);
        const float h = widen(static_cast<const S*>(p.h0)[share.state(row) * H + unit]);
        reinterpret_cast<S*>(operand(0) + row * l.operand_pitch)[unit] =
            as_factor<S>(cut_at_start(row) ? 0 : h);
    }
    float h[E], c[E];
    int chunk[E];  // where what this lane sends lies in an operand, or -1
    constexpr int sent = 32 * int(sizeof(S)) / 16;  // pieces of 16 bytes that a warp has
#pragma unroll
    for (int e = 0; e < E; e++) {
        h[e] = c[e] = 0;
        const Element at = mine[e];
        if (at.row >= 0) {
            const int64_t state = share.state(at.row) * H + share.unit + at.unit;
            if (!cut_at_start(at.row)) {
                h[e] = widen(static_cast<const S*>(p.h0)[state]);
                if constexpr (C::has_c) c[e] = widen(static_cast<const S*>(p.c0)[state]);
            }
        }
        const int first = lane % sent * width;  // of the warp's elements: 8 units of a row, ...
        const Element sender(me - lane + e * recurrence_threads + first / 16 * 16 +
                                 first / 8 % 2 + first % 8 * 2,
                             units);
        const int unit = int(share.unit) + sender.unit;
        chunk[e] =
            sender.row < share.rows ? sender.row * l.operand_pitch + unit * int(sizeof(S)) : -1;
    }

    const auto load = [&](StepInput<C, E>& in, const Step& step) {
#pragma unroll
        for (int e = 0; e < E; e++) {
            const Element at = mine[e];
            const int64_t b = share.row + at.row;
            in.cut[e] = false;
#pragma unroll
            for (int g = 0; g < G; g++) in.x[e][g] = 0;
            if (at.row < 0 || b >= step.rows) continue;
            const int64_t row = share.row_of(step.first + b) * G * H + share.unit + at.unit;
#pragma unroll
            for (int g = 0; g < G; g++)
                in.x[e][g] = widen(static_cast<const S*>(p.gx)[row + g * H]);
            if (share.sequence.resets && b < step.leave) in.cut[e] = share.cut(step.cut_out + b);
        }
    };
    StepInput<C, E> in;
    Step step = {};
    if (share.steps > 0) load(in, step = share.step(0));
    meet<together>();

    for (int64_t k = 0; k < share.steps; k++) {
        // W_hh·h.
        if (k > 0) peers.wait(k - 1);
        for (int n = 0; n < l.tiles; n++) {
            weights.multiply_by(
                operand(k) + 8 * n * l.operand_pitch, l.operand_pitch,
                [&](int strip, int slot, const Sums& found) {
#pragma unroll
                    for (int i = 0; i < 4; i++) {
                        const auto& [one, other] = found[i / 2];
                        const int m = strip * strip_rows + i * 8 + lane / 4;
                        *reinterpret_cast<float2*>(sums.at(slot, 8 * n + lane % 4 * 2, m)) = {
                            one[i % 2 * 2] + other[i % 2 * 2],
                            one[i % 2 * 2 + 1] + other[i % 2 * 2 + 1]};
                    }
                });
        }
        __syncthreads();

        // The cell, and what is kept of this step.
        S* const stage = reinterpret_cast<S*>(shared + l.stage) + (me - lane) * E;
#pragma unroll
        for (int e = 0; e < E; e++) {
            const Element at = mine[e];
            const int64_t b = share.row + at.row, unit = share.unit + at.unit;
            if (at.row >= 0 && b < step.rows) {
                float gh[G], saved[K];
#pragma unroll
                for (int g = 0; g < G; g++)
                    gh[g] = sums.total(l.slots, at.row, g * units + at.unit) +
                            bias[g * units + at.unit];
                S rounded;
                narrow(C::forward(in.x[e], gh, h[e], c[e], saved), rounded);
                h[e] = widen(rounded);
                const int64_t row = share.row_of(step.first + b);
                static_cast<S*>(p.y)[row * H + unit] = rounded;
                if (p.saved) {
#pragma unroll
                    for (int s = 0; s < K; s++)
                        narrow(saved[s], static_cast<S*>(p.saved)[(row * K + s) * H + unit]);
                }
                if constexpr (C::has_c)
                    if (p.c_all) static_cast<float*>(p.c_all)[row * H + unit] = c[e];
                if (in.cut[e]) h[e] = c[e] = 0;
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
#pragma unroll
            for (int e = 0; e < E; e++) {
                if (chunk[e] < 0) continue;
                const uint4 bits = reinterpret_cast<const uint4*>(stage + e * 32)[lane % sent];
                const char* to = operand(k + 1) + chunk[e];
                for (int i = lane / sent; i < l.cluster; i += 32 / sent) {
                    const int peer = (i + share.rank) % l.cluster;  // not all to one at a time
                    ptx::store_async(ptx::at_peer(to, peer), bits, peers.at(k, peer));
                }
            }
        }
        load(in, step = share.step(k + 1));
    }

#pragma unroll
    for (int e = 0; e < E; e++) {
        const Element at = mine[e];
        if (at.row < 0) continue;
        const int64_t state = share.state(at.row) * H + share.unit + at.unit;
        narrow(h[e], static_cast<S*>(p.h_n)[state]);
        if constexpr (C::has_c) narrow(c[e], static_cast<S*>(p.c_n)[state]);
    }
}

}  // namespace rnn::cuda
