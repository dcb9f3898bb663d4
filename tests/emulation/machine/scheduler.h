// Runs a launch: lets one thread go at a time, as its Schedule says.
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
// The running thread does something that a mere wait would not.
void busy();

// Nanoseconds. They pass when threads switch, and fast when all of them wait.
uint64_t read_clock();
void pass(uint64_t nanoseconds);

// A number below n, from the seed; whether what may fail for no reason does, never in order.
uint64_t draw(uint64_t n);
bool spurious();

}  // namespace emulated
