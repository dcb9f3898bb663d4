// What the processor does not forgive a kernel: division by zero, the end of its stack.
#pragma once

#include <csignal>
#include <cstdint>
#include <memory>

namespace emulated {

// While one of these lives, a signal says which thread it hit before it goes to whoever had it
// before.
class CrashReports {
public:
    explicit CrashReports(uint64_t seed);
    CrashReports(const CrashReports&) = delete;
    ~CrashReports();

private:
    std::unique_ptr<char[]> stack_;  // the kernel's own may be the problem
    stack_t stack_before_;
};

}  // namespace emulated
