#include "crash.h"

#include <unistd.h>

#include <cstdio>
#include <iterator>

#include "grid.h"

namespace emulated {
namespace {

constexpr int signals[] = {SIGFPE, SIGSEGV, SIGBUS};
constexpr size_t stack_bytes = 64 << 10;
uint64_t seed_now;
struct sigaction before[std::size(signals)];

void give_back() {
    for (size_t i = 0; i < std::size(signals); i++) sigaction(signals[i], &before[i], nullptr);
}

void report(int number) {
    // No more than is safe here. The instruction that is repeated then hits whoever had the signal.
    char text[256];
    const Thread* t = current;
    const int length =
        t ? std::snprintf(
                text, sizeof(text),
                "\nsignal %d in a kernel: thread %u of block (%u,%u,%u) in schedule %llu\n"
                "(8: division by zero; 11: most likely the end of its stack, %zu KiB)\n",
                number, t->number, t->block->index.x, t->block->index.y, t->block->index.z,
                (unsigned long long)seed_now, Fibre::bytes >> 10)
          : 0;
    [[maybe_unused]] const auto written = write(STDERR_FILENO, text, size_t(length));
    give_back();
}

}  // namespace

CrashReports::CrashReports(uint64_t seed) : stack_(new char[stack_bytes]) {
    seed_now = seed;
    stack_t stack = {};
    stack.ss_sp = stack_.get();
    stack.ss_size = stack_bytes;
    sigaltstack(&stack, &stack_before_);
    struct sigaction action = {};
    action.sa_handler = report;
    action.sa_flags = SA_ONSTACK;
    for (size_t i = 0; i < std::size(signals); i++) sigaction(signals[i], &action, &before[i]);
}

CrashReports::~CrashReports() {
    give_back();
    sigaltstack(&stack_before_, nullptr);
}

}  // namespace emulated
