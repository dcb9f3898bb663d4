// How arrays that only the kernels see are laid out.
#pragma once

#include <cstdint>

#include "../cell.h"

namespace rnn::cpu::RNN_ISA {

// Registers that hold H values.
template <class V>
constexpr int64_t blocks_of(int64_t H) {
    return (H + V::size - 1) / V::size;
}

// Values from row to row for rows of `n`: whole cache lines, of an odd number, so that rows do not
// all fall into the same few sets of a cache.
template <class F>
constexpr int64_t pitch_of(int64_t n) {
    constexpr int64_t line = 64 / sizeof(F);
    return ((n + line - 1) / line | 1) * line;
}

}  // namespace rnn::cpu::RNN_ISA
