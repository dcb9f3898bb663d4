// The shared library that a kernel lies in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace emulated {

struct Program {
    struct Segment {
        uintptr_t begin, end;
        bool writable;
    };
    std::vector<Segment> segments;
    // Its thread_local variables, those of the calling thread.
    char* locals = nullptr;
    size_t locals_bytes = 0;
};

Program program_of(const void* address);

}  // namespace emulated
