// Who computes what: threads split the batch rows, or the hidden units.
#pragma once

#include "cpu.h"
#include "team.h"

namespace rnn::cpu::RNN_ISA {

// Inputs of so many steps at once that there are rows for several register tiles.
inline Plan with_chunk(Plan p, const Sequence& q) {
    const int64_t own = q.B / p.row_groups, wanted = p.pack ? 32 / (own < 1 ? 1 : own) : q.T;
    p.chunk = wanted < 1 ? 1 : (wanted < q.T ? wanted : (q.T < 1 ? 1 : q.T));
    return p;
}

// `lanes` of a vector, `bytes` of an element.
inline Plan make_plan(const Sequence& q, int64_t I, int gates, int lanes, int bytes, int threads) {
    const int64_t blocks = q.D * ((q.H + lanes - 1) / lanes);
    const int64_t weights = q.D * gates * q.H * (q.H + I);

    // Packing reads and writes every weight once, a dot product reads it once a row.
    Plan p{1, 1, q.T * q.B >= 32, 1};

    // Row groups never wait for each other, but each streams all weights: good while those stay
    // in a core's cache (1 MiB) and the groups fill their register tiles, which matters less where
    // they are small. Lengths differ, so rows of a packed sequence would not share the work evenly.
    const int64_t size = weights * bytes, each = q.B / threads;
    const bool rows_fit =
        !q.batch_sizes && (each >= 8 ? size <= (1 << 20) : each >= 4 && size <= 5 * (1 << 16));
    if (rows_fit && q.T * q.B * weights >= 100000) {
        p.row_groups = threads;
        return with_chunk(p, q);
    }
    // The barrier of a step costs 0.3 to 0.6 µs: as much as 15,000 multiply-adds.
    const int64_t useful = q.B * weights / 15000;
    const int64_t most = blocks < threads ? blocks : threads;
    p.unit_groups = int(useful < 1 ? 1 : (useful < most ? useful : most));
    return with_chunk(p, q);
}

}  // namespace rnn::cpu::RNN_ISA
