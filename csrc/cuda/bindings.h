// What the CUDA backend's bindings read Python's arguments with.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>
#include <tuple>

#include "../arguments/fields.h"
#include "../with_cell.h"
#include "gates/gates.h"

namespace py = pybind11;

using Address = std::uintptr_t;

// B, H, D.
using SizesOf = std::tuple<int64_t, int64_t, int>;

inline rnn::cuda::Sizes sizes_of(const SizesOf& sizes) {
    const auto [B, H, D] = sizes;
    return {B, H, D};
}

inline rnn::cuda::Place place_of(int device, Address stream) {
    return {device, reinterpret_cast<cudaStream_t>(stream)};
}
