// Lanes of a warp that do one thing together: shuffles, votes, matrix instructions.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "clock.h"

namespace emulated {

// What each lane brings and takes; null where there is no lane.
struct Lanes {
    const void* in[32] = {};
    void* out[32] = {};
};
using Together = void (*)(const Lanes&);

// Only some order memory too; others are of a warp of which no lane may have exited.
enum class Meet { lanes, ordering_lanes, whole_warp };

struct Meeting {
    const char* what;
    uint32_t mask, come = 0, there;  // lanes that are meant, that came, that have not exited
    Lanes lanes;
    Together together;
    Gathering gathering;
    Meet kind;
    Knowledge all;
};

// Of one warp: lanes with the same mask and purpose meet.
using Meetings = std::map<std::pair<const char*, uint32_t>, std::shared_ptr<Meeting>>;

// The calling lane brings `in` and takes `out`. The last to come does what all came for.
void meet(const char* what, uint32_t mask, const void* in, void* out, Together together,
          Meet kind = Meet::lanes);
// A lane has exited; those that wait go on without it.
void check(Meetings& meetings, uint32_t there);

}  // namespace emulated
