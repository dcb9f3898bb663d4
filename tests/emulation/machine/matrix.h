// Matrix instructions of a warp, with the register layouts of the PTX manual.
#pragma once

#include <cstdint>

namespace emulated {

enum class Format { fp16, bf16, tf32 };

// d += a·b: m16n8k16 for the 16-bit formats, m16n8k8 for tf32.
void mma(Format format, float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);

// ldmatrix of 1, 2 or 4 matrices of 8 x 8 16-bit elements; `row` is the one this lane points at.
void load_matrices(int count, bool transposed, uint32_t* out, const void* row);

}  // namespace emulated
