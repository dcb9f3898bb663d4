// What Python asks for by name, besides cells.
//
// These functions are not inline, because kernels are compiled for several instruction sets: a
// linker keeps one copy of what std::string needs, and that may be the wrong one.
#pragma once

#include "../dtype.h"

namespace rnn {

// Throws std::invalid_argument where there is none.
Dtype dtype_named(const char* name);

const char* name_of(Dtype dtype);

// Throws std::invalid_argument.
[[noreturn]] void unknown_cell(const char* name);

}  // namespace rnn
