// Which thread of a launch goes next. Drawn from a seed, and drawn to do harm.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "grid.h"

namespace emulated {

// The ready thread of highest priority goes. Priorities of threads, of warps or of whole blocks are
// drawn at the start and now and then after (probabilistic concurrency testing, Burckhardt et al.
// 2010): a warp or a block may be held up for as long as the others can go on without it. With seed
// 0 threads go in order, each as far as it can.
class Schedule {
public:
    explicit Schedule(uint64_t seed);

    uint64_t draw(uint64_t n);  // a number below n

    void add(Thread& thread);
    Thread* take();  // the next, or null
    // Until release(thread.key).
    void wait(Thread& thread);
    bool release(const void* key);
    bool release_impatient();
    // One line for all who stand at the same place for the same reason.
    std::string everyone_waiting() const;

    bool in_order() const { return in_order_; }
    // Gangs that run at once, as if a GPU had room for no more.
    uint64_t resident() const { return resident_; }

private:
    enum class Level { thread, warp, block };

    uint64_t next();
    uint64_t priority(Thread& thread);
    void free(Thread& thread);

    bool in_order_;
    uint64_t state_;
    Level level_;      // who has a priority
    uint64_t redraw_;  // of this many chances one is taken to draw it again
    uint64_t resident_;
    std::set<std::tuple<uint64_t, uint32_t, Thread*>> ready_;
    std::unordered_map<const void*, std::vector<Thread*>> waiting_;
};

}  // namespace emulated
