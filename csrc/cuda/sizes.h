// The sizes of a call, and its name in messages.
#pragma once

#include <cstdint>
#include <string>

#include "../dtype.h"

namespace rnn::cuda {

struct Sizes {
    int64_t B;
    int64_t H;
    int D;
};

// A kernel and its sizes. `how`: what it was cut into.
std::string describe(const std::string& kernel, const Sizes& sizes, Dtype storage,
                     const std::string& how, int device);

}  // namespace rnn::cuda
