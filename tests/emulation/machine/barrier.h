// All come before any goes on: __syncthreads, named barriers, clusters, grids.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "clock.h"

namespace emulated {

struct Thread;

class Barrier {
public:
    // From the first to come until all have.
    struct Round {
        unsigned come = 0, expected = 0;
        std::map<unsigned, uint32_t> lanes;  // of warps that are not complete
        Gathering gathering;
        Knowledge all;  // who goes on knows this
        bool open = true;
    };
    using Ticket = std::shared_ptr<Round>;

    // The calling thread has come, one of `expected`; it may do other things before it waits.
    Ticket arrive(unsigned expected, bool release = true);
    // As the hardware counts: a warp comes when all its lanes that have not exited have.
    Ticket arrive_by_warp(unsigned expected);
    void wait(const Ticket& ticket);

    // When a thread exits: so many are expected now, if any have come; it takes its arrival back;
    // its warp goes on without it.
    void expect_alive(unsigned expected);
    void withdraw(const Ticket& ticket);
    void check_warp(unsigned warp, uint32_t there);

    const Ticket& now() const { return round_; }
    bool has_come(const Ticket& ticket) const { return ticket && ticket == round_; }

private:
    Round& join(bool release);
    void check();
    static std::string describe(const void* key);

    Ticket round_ = std::make_shared<Round>();
};

}  // namespace emulated
