// Twin of csrc/cuda/ptx/matrix.h.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "../../machine/matrix.h"
#include "shared.h"

namespace rnn::cuda::ptx {

template <int N>
void load_matrices(uint32_t (&to)[N], const void* row) {
    emulated::load_matrices(N, false, to, row);
}
template <int N>
void load_matrices_transposed(uint32_t (&to)[N], const void* row) {
    emulated::load_matrices(N, true, to, row);
}

template <class S>
constexpr emulated::Format format = emulated::Format::tf32;
template <>
constexpr emulated::Format format<__half> = emulated::Format::fp16;
template <>
constexpr emulated::Format format<__nv_bfloat16> = emulated::Format::bf16;

template <class S>
void mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    emulated::mma(format<S>, d, a, b);
}

inline uint32_t to_tf32(float x) {
    const uint32_t bits = __float_as_uint(x);
    return std::isfinite(x) ? (bits + 0x1000) & 0xffffe000 : bits;
}

}  // namespace rnn::cuda::ptx
