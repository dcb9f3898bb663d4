// What a cell is: the math of one unit at one step, and nothing else.
//
// A cell is written once over a value type V: `float` and `double` in CUDA kernels, a SIMD vector
// of either on the CPU. The drivers own loops, loads, casts and layouts.
#pragma once

#include <concepts>

#if defined(__CUDACC__)
#define RNN_HD __host__ __device__ __forceinline__
#else
#define RNN_HD inline __attribute__((always_inline))
#endif

namespace rnn {

// What the drivers ask of a cell.
//
//   gates    rows of W_hh per hidden unit
//   saved    values per unit that the forward keeps for the backward, besides h and c
//   has_c    whether a cell state c runs beside h
//   splits   whether the last gate receives its recurrent half separately, so that its gradient
//            with respect to W_hh·h differs from the one with respect to the input half
//   mixes    whether the new hidden state takes in the previous one directly, not through W_hh
//
//   V forward(gx, gh, h, c, s)
//     gx, gh [gates]  input half (biases folded in) and recurrent half of each gate
//     h               previous hidden state
//     c               previous cell state, replaced by the new one
//     s [saved]       out: what the backward needs
//     returns the new hidden state
//
//   V backward(s, h, c_prev, c, dh, dc, dgx, dgh)
//     s, h, c_prev, c as the forward left them (h: the previous hidden state)
//     dh              gradient of the new hidden state
//     dc              gradient of the new cell state, replaced by that of the previous one
//     dgx, dgh[gates] out: gradients of gx and gh
//     returns the share of the previous hidden state's gradient that does not pass through W_hh
template <class C>
concept Cell = requires {
    { C::gates } -> std::convertible_to<int>;
    { C::saved } -> std::convertible_to<int>;
    { C::has_c } -> std::convertible_to<bool>;
    { C::splits } -> std::convertible_to<bool>;
    { C::mixes } -> std::convertible_to<bool>;
    { C::name } -> std::convertible_to<const char*>;
};

// Several cells as one type.
template <Cell... C>
struct Cells {};

}  // namespace rnn
