// All come before any goes on: __syncthreads, named barriers, clusters, grids.
#pragma once

#include <string>

#include "clock.h"

namespace emulated {

struct Thread;

class Barrier {
public:
    // The calling thread has come; it may do other things before it waits. Returns the round.
    uint32_t arrive(unsigned expected, bool release = true);
    void wait(uint32_t round);
    // As many as there still are have come. Called when a thread exits, too.
    void check(unsigned expected);

private:
    static std::string describe(const void* key);

    unsigned come_ = 0, expected_ = 0;
    uint32_t round_ = 0;
    Gathering gathering_;
    Knowledge all_;  // who left the last round knows this
};

}  // namespace emulated
