#include "names.h"

#include <stdexcept>
#include <string>

namespace rnn {

Dtype dtype_named(const char* name) {
    const std::string given = name;
    if (given == "float32") return Dtype::fp32;
    if (given == "float64") return Dtype::fp64;
    if (given == "bfloat16") return Dtype::bf16;
    if (given == "float16") return Dtype::fp16;
    throw std::invalid_argument("unknown dtype: " + given);
}

void unknown_cell(const char* name) {
    throw std::invalid_argument("unknown cell: " + std::string(name));
}

}  // namespace rnn
