// Backward: each block multiplies its own gates' gradients with the weights it keeps, and gives
// every unit's owner its part of the sum.
#pragma once

#include "exchange.cuh"
#include "resident.cuh"

namespace rnn::cuda {

// What a step takes in, loaded a step ahead.
template <Cell C, int E>
struct StepGradients {
    float saved[E][C::saved];
    float before[E], c[E];  // the state before the step, c or h; c behind it
    float dy[E];
    bool cut[E];  // between this step and the one that states left for
};

template <Cell C, class S, bool together, int E>
__global__ void __launch_bounds__(recurrence_threads, 1)
    recurrence_backward(const RecurrenceBackward p) {
    constexpr int G = C::gates, K = C::saved;
    const Layout& l = p.layout;
    const int units = l.units;
    const Share share(p.sizes, l, p.sequence);
    const Elements<E> mine(share, units);
    const int64_t H = share.H;
    const int me = threadIdx.x, lane = me % 32;
    char* const shared = ptx::dynamic_shared<char>();
    const auto operand = [&](int64_t i) { return shared + i % 2 * l.operand_size; };
    const auto sums = [&](int64_t i) {
        return SumsOf{reinterpret_cast<float*>(shared + l.sums + i % 2 * l.sums_size),
                      l.sums_pitch, 4 * l.tiles};
    };
    const int sums_per_block = l.slots, blocks_per_owner = units / 8;
    typename Peers<together>::type peers(shared + l.barriers,
                                         arriving_sums(l, share.rank) * ((share.rows + 1) / 2));

    const Resident<S, held_fragments<E>> weights(
        l, reinterpret_cast<uint4*>(shared + l.weights), [&](int m, int column) {
            const int g = column / units, u = column % units;
            const int64_t from = share.unit + u, row = int64_t(share.d) * H + m;
            return read_factors(static_cast<const S*>(p.w) + (row * G + g) * H + from,
                                m < H && g < G ? H - from : 0, p.aligned);
        });
    for (int i = me; i < 2 * l.operand_size / 16; i += recurrence_threads)
        reinterpret_cast<uint4*>(shared)[i] = {};
    for (int i = me; i < 2 * l.sums_size / 16; i += recurrence_threads)
        reinterpret_cast<uint4*>(shared + l.sums)[i] = {};

    // Gradients of the final states wait for their row's last step.
    float direct[E], dc[E];
#pragma unroll
    for (int e = 0; e < E; e++) {
        direct[e] = dc[e] = 0;
        if (mine[e].row < 0) continue;
        const int64_t state = share.state(mine[e].row) * H + share.unit + mine[e].unit;
        if (p.dh_n) direct[e] = widen(static_cast<const S*>(p.dh_n)[state]);
        if constexpr (C::has_c)
            if (p.dc_n) dc[e] = widen(static_cast<const S*>(p.dc_n)[state]);
    }

    const auto load = [&](StepGradients<C, E>& in, const Step& step) {
#pragma unroll
        for (int e = 0; e < E; e++) {
            const Element at = mine[e];
            const int64_t b = share.row + at.row, unit = share.unit + at.unit;
            in.before[e] = in.c[e] = in.dy[e] = 0;
            in.cut[e] = false;
#pragma unroll
            for (int s = 0; s < K; s++) in.saved[e][s] = 0;
            if (at.row < 0 || b >= step.rows) continue;
            const int64_t row = share.row_of(step.first + b);
            const int64_t before = share.row_of(step.before + b) * H + unit;
            const int64_t initial = share.state(at.row) * H + unit;
            const bool arrives = b < step.arrive;
            const bool cut_in =
                share.sequence.resets && b < step.cuts_in && share.cut(step.cut_in + b);
#pragma unroll
            for (int s = 0; s < K; s++)
                in.saved[e][s] =
                    widen(static_cast<const S*>(p.saved)[(row * K + s) * H + unit]);
            if (p.dy) in.dy[e] = widen(static_cast<const S*>(p.dy)[row * H + unit]);
            float h = 0;
            if ((C::mixes || p.h_before) && !cut_in)
                h = widen(arrives ? static_cast<const S*>(p.y)[before]
                                  : static_cast<const S*>(p.h0)[initial]);
            if (p.h_before) narrow(h, static_cast<S*>(p.h_before)[row * H + unit]);
            if constexpr (C::has_c) {
                in.c[e] = static_cast<const float*>(p.c_all)[row * H + unit];
                if (!cut_in)
                    in.before[e] = arrives ? static_cast<const float*>(p.c_all)[before]
                                           : widen(static_cast<const S*>(p.c0)[initial]);
            } else {
                in.before[e] = h;
            }
            if (share.sequence.resets && b < step.leave) in.cut[e] = share.cut(step.cut_out + b);
        }
    };
    StepGradients<C, E> in;
    Step step = {};
    if (share.steps > 0) load(in, step = share.step(share.steps - 1));
    meet<together>();

    for (int64_t i = 0; i < share.steps; i++) {
        // The gates' gradients, from what comes back from the step that states left for.
        if (i > 0) peers.wait(i - 1);
#pragma unroll
        for (int e = 0; e < E; e++) {
            const Element at = mine[e];
            const int64_t b = share.row + at.row, unit = share.unit + at.unit;
            if (at.row < 0) continue;
            float dh = direct[e];
            if (i > 0) dh += sums(i - 1).total(l.cluster * l.slots, at.row, at.unit);
            float dgx[G] = {}, dgh[G] = {};
            direct[e] = dh;
            if (b < step.rows) {
                if (in.cut[e]) dh = dc[e] = 0;
                dh += in.dy[e];
                const int64_t row = share.row_of(step.first + b);
                if constexpr (C::has_c)
                    if (p.dc_all) dc[e] += static_cast<const float*>(p.dc_all)[row * H + unit];
                direct[e] = C::backward(in.saved[e], in.before[e], in.before[e], in.c[e], dh,
                                        dc[e], dgx, dgh);
#pragma unroll
                for (int g = 0; g < G; g++)
                    narrow(dgx[g], static_cast<S*>(p.dgx)[(row * G + g) * H + unit]);
                if constexpr (C::splits)
                    if (p.dgh_last)
                        narrow(dgh[G - 1], static_cast<S*>(p.dgh_last)[row * H + unit]);
            }
            S* const to = reinterpret_cast<S*>(operand(i) + at.row * l.operand_pitch) + at.unit;
#pragma unroll
            for (int g = 0; g < G; g++) to[g * units] = as_factor<S>(dgh[g]);
        }
        if (i + 1 < share.steps) load(in, step = share.step(share.steps - 2 - i));
        __syncthreads();

        // W_hhᵀ·dgates.
        for (int n = 0; n < l.tiles; n++) {
            const int row = 8 * n + lane % 4 * 2;
            weights.multiply_by(
                operand(i) + 8 * n * l.operand_pitch, l.operand_pitch,
                [&](int strip, int slot, const Sums& found) {
#pragma unroll
                    for (int j = 0; j < 4; j++) {
                        const int block = strip * 4 + j, owner = block / blocks_per_owner;
                        if (owner >= l.cluster || row >= share.rows) continue;
                        const auto& [one, other] = found[j / 2];
                        const float2 pair = {one[j % 2 * 2] + other[j % 2 * 2],
                                             one[j % 2 * 2 + 1] + other[j % 2 * 2 + 1]};
                        float* const to =
                            sums(i).at(share.rank * sums_per_block + slot, row,
                                       (block - owner * blocks_per_owner) * 8 + lane / 4);
                        if constexpr (together) {
                            uint64_t bits;
                            memcpy(&bits, &pair, sizeof(bits));
                            ptx::store_async(ptx::at_peer(to, owner), bits, peers.at(i, owner));
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
        const int64_t b = share.row + at.row;
        const int64_t state = share.state(at.row) * H + share.unit + at.unit;
        float dh = direct[e];
        if (share.steps > 0)
            dh += sums(share.steps - 1).total(l.cluster * l.slots, at.row, at.unit);
        if (share.sequence.resets && share.d == 0 && b < share.count(0) && share.cut(b))
            dh = dc[e] = 0;
        narrow(dh, static_cast<S*>(p.dh0)[state]);
        if constexpr (C::has_c) narrow(dc[e], static_cast<S*>(p.dc0)[state]);
    }
}

}  // namespace rnn::cuda
