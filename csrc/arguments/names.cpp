#include "names.h"

#include <cstring>
#include <stdexcept>
#include <string>

namespace rnn {

Dtype dtype_named(const char* name) {
    for (Dtype dtype : {Dtype::fp32, Dtype::fp64, Dtype::bf16, Dtype::fp16})
        if (std::strcmp(name, name_of(dtype)) == 0) return dtype;
    throw std::invalid_argument("unknown dtype: " + std::string(name));
}

const char* name_of(Dtype dtype) {
    switch (dtype) {
        case Dtype::fp32: return "float32";
        case Dtype::fp64: return "float64";
        case Dtype::bf16: return "bfloat16";
        case Dtype::fp16: return "float16";
    }
    return "unknown";
}

void unknown_cell(const char* name) {
    throw std::invalid_argument("unknown cell: " + std::string(name));
}

}  // namespace rnn
