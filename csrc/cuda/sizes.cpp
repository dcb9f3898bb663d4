#include "sizes.h"

#include "../arguments/names.h"

namespace rnn::cuda {

std::string describe(const std::string& kernel, const Sizes& sizes, Dtype storage,
                     const std::string& how, int device) {
    return kernel + " (D " + std::to_string(sizes.D) + ", B " + std::to_string(sizes.B) + ", H " +
           std::to_string(sizes.H) + ", " + name_of(storage) + ", " + how + ", device " +
           std::to_string(device) + ")";
}

}  // namespace rnn::cuda
