// Where the rows of a sequence lie, and which row came before which.
#pragma once

#include "cpu.h"
#include "team.h"

namespace rnn::cpu::RNN_ISA {

class Rows {
public:
    explicit Rows(const Sequence& seq) : seq_(seq), offsets_(seq.batch_sizes ? seq.T : 0) {
        if (!seq.batch_sizes) return;
        int64_t offset = 0;
        for (int64_t t = 0; t < seq.T; t++) {
            *(offsets_ + t) = offset;
            offset += seq.batch_sizes[t];
        }
    }

    static constexpr int64_t initial = -1;  // the state before the first step
    static constexpr int64_t zero = -2;     // a state that a reset replaced by zero

    // Rows of step t: batch rows [0, count(t)) at row(t, 0) and following.
    int64_t count(int64_t t) const { return seq_.batch_sizes ? seq_.batch_sizes[t] : seq_.B; }
    int64_t row(int64_t t, int64_t b) const {
        return (seq_.batch_sizes ? *(offsets_ + t) : t * seq_.B) + b;
    }

    int64_t total() const { return seq_.T ? row(seq_.T - 1, 0) + count(seq_.T - 1) : 0; }

    // Time of the s-th step that direction d takes.
    int64_t time(int64_t d, int64_t s) const { return d ? seq_.T - 1 - s : s; }

    // The row whose state direction d carries into (t, b), or `initial`, or `zero`.
    // A reset at t cuts between t - 1 and t, whichever way the direction crosses it.
    int64_t before(int64_t d, int64_t t, int64_t b) const {
        if (d == 0) {
            if (seq_.resets && seq_.resets[row(t, b)]) return zero;
            return t == 0 ? initial : row(t - 1, b);
        }
        if (t + 1 >= seq_.T || b >= count(t + 1)) return initial;
        const int64_t next = row(t + 1, b);
        return seq_.resets && seq_.resets[next] ? zero : next;
    }

    // The row that direction d ends in for batch row b, or `initial` if it has no step at all.
    int64_t last(int64_t d, int64_t b) const {
        if (seq_.T == 0 || b >= count(0)) return initial;
        if (d == 1) return row(0, b);
        int64_t t = seq_.T - 1;
        while (count(t) <= b) t--;
        return row(t, b);
    }

private:
    const Sequence& seq_;
    const Array<int64_t> offsets_;
};

}  // namespace rnn::cpu::RNN_ISA
