// Who computes what: threads split the batch rows, or the hidden units.
#pragma once

#include "cpu.h"
#include "team.h"

namespace rnn::cpu::RNN_ISA {

// `lanes` of a vector, `bytes` of an element.
inline Plan make_plan(const Sequence& q, int gates, int lanes, int bytes, int threads) {
    const int64_t blocks = q.D * ((q.H + lanes - 1) / lanes);
    const int64_t weights = q.D * gates * q.H * q.H;

    // Packing reads and writes every weight once, a dot product reads it once a row.
    Plan p{1, 1, q.T * q.B >= 16};

    // Row groups never wait for each other, but each streams all weights: good while those stay
    // in a core's cache (1 MiB) and the groups fill their register tiles. Lengths differ, so
    // rows of a packed sequence would not share the work evenly.
    const bool rows_fit = !q.batch_sizes && q.B >= 8 * threads && weights * bytes <= (1 << 20);
    if (rows_fit && q.T * q.B * weights >= 100000) {
        p.row_groups = threads;
        return p;
    }
    // The barrier of a step costs 0.3 to 0.6 µs: as much as 15,000 multiply-adds.
    const int64_t useful = q.B * weights / 15000;
    const int64_t most = blocks < threads ? blocks : threads;
    p.unit_groups = int(useful < 1 ? 1 : (useful < most ? useful : most));
    return p;
}

}  // namespace rnn::cpu::RNN_ISA
