// What a kernel did wrong. The launch is given up and throws.
#pragma once

#include <stdexcept>
#include <string>

namespace emulated {

struct Fault : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// Says who does it and where. Does not return to the kernel.
[[noreturn]] void fault(const std::string& what);

// Source lines of an address in a kernel, with the functions inlined there.
std::string position(const void* site);

}  // namespace emulated
