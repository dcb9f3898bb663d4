// A stack of its own, and the way onto it and off it.
#pragma once

#include <csetjmp>
#include <cstddef>
#include <cstdint>

namespace emulated {

// Made with ucontext, then switched with _setjmp and _longjmp: glibc has both, and these two leave
// the signal mask alone, so that a switch costs no system call.
class Fibre {
public:
    Fibre();
    Fibre(const Fibre&) = delete;
    ~Fibre();

    // What the next resume() begins with, on a fibre that has nothing left to do.
    void give(void (*job)(void*), void* argument) { job_ = job, argument_ = argument; }
    // Runs it until it suspends or ends.
    void resume();
    // Back to where resume() was called. Called on the fibre.
    void suspend();

    bool owns(uintptr_t address) const { return address - uintptr_t(stack_) < bytes; }

    // Taken from the system page by page; a guard page lies below.
    static constexpr size_t bytes = 256 << 10;

private:
    static void enter(unsigned high, unsigned low);

    char* stack_;
    bool entered_ = false;
    void (*job_)(void*) = nullptr;
    void* argument_ = nullptr;
    jmp_buf inside_, outside_;
    const void* host_stack_ = nullptr;  // where resume() was called, for AddressSanitizer
    size_t host_bytes_ = 0;
};

}  // namespace emulated
