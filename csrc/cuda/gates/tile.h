// How the gate kernels cut (D, rows, H) into threads: each computes W neighbouring units of a row.
#pragma once

#include <initializer_list>
#include <string>

#include "../storage.h"
#include "gates.h"

namespace rnn::cuda {

// Small, since most steps have few rows and should still reach many multiprocessors.
constexpr int block_threads = 128;

// What one thread works on.
struct Unit {
    int d;
    int64_t b, j;  // row of the state, first hidden unit

    __device__ explicit Unit(int width)
        : d(blockIdx.z),
          b(int64_t(blockIdx.x) * blockDim.y + threadIdx.y),
          j((int64_t(blockIdx.y) * blockDim.x + threadIdx.x) * width) {}
};

// Rows lie along grid.x, which alone may exceed 65535.
struct Tiles {
    dim3 grid, block;

    Tiles(const Sizes& sizes, const Step* steps, int width) {
        const int64_t chunks = (sizes.H + width - 1) / width;
        int64_t rows = 0;
        for (int d = 0; d < sizes.D; d++) rows = rows < steps[d].rows ? steps[d].rows : rows;
        unsigned x = 1;
        while (x < chunks && x < block_threads) x *= 2;
        const unsigned y = block_threads / x;
        block = dim3(x, y);
        grid = dim3(unsigned((rows + y - 1) / y), unsigned((chunks + x - 1) / x), sizes.D);
    }
    bool empty() const { return grid.x == 0; }
    std::string in_words() const {
        return std::to_string(grid.x) + " x " + std::to_string(grid.y) + " blocks";
    }
};

// Whether rows of H elements of S start at multiples of 16 bytes in all these arrays.
template <class S>
bool aligned(int64_t H, std::initializer_list<const void*> arrays) {
    uintptr_t bits = 0;
    for (const void* array : arrays) bits |= reinterpret_cast<uintptr_t>(array);
    return bits % 16 == 0 && H % full_width<S> == 0;
}

}  // namespace rnn::cuda
