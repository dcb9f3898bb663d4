// Which thread goes next. Drawn from a seed, and drawn to do harm.
#pragma once

#include <cstdint>

#include "grid.h"

namespace emulated {

// The next launches draw from this. 0: threads go in order, each as far as it can.
void set_seed(uint64_t seed);

// A point where other threads may go first.
void yield();
// Until wake(key). A thread that is not patient also goes on when nobody else can: time passes.
void block_on(const void* key, Describe describe, bool patient = true);
void wake(const void* key);

// Nanoseconds. They pass when threads switch, and fast when all of them wait.
uint64_t now();
void pass(uint64_t nanoseconds);

// A number below n, from the seed.
uint64_t draw(uint64_t n);

}  // namespace emulated
