#include "fibre.h"

#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <new>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#include "fault.h"

namespace emulated {
namespace {

// AddressSanitizer wants to know which stack we are on.
void leave_for([[maybe_unused]] void** kept, [[maybe_unused]] const void* stack,
               [[maybe_unused]] size_t bytes) {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(kept, stack, bytes);
#endif
}
void arrive([[maybe_unused]] void* kept, [[maybe_unused]] const void** from,
            [[maybe_unused]] size_t* bytes) {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(kept, from, bytes);
#endif
}

const size_t page = size_t(sysconf(_SC_PAGESIZE));

// Each has two mappings, its stack and its guard; Linux gives a process 65530.
constexpr size_t most = 25'000;
size_t alive;

}  // namespace

Fibre::Fibre() {
    if (alive == most) throw Fault("more threads at once than the emulation has room for");
    void* all = mmap(nullptr, page + bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (all == MAP_FAILED) throw std::bad_alloc();
    mprotect(all, page, PROT_NONE);
    stack_ = static_cast<char*>(all) + page;
    alive++;
}

Fibre::~Fibre() {
    alive--;
#ifdef __SANITIZE_ADDRESS__
    __asan_unpoison_memory_region(stack_, bytes);
#endif
    munmap(stack_ - page, page + bytes);
}

void Fibre::enter(unsigned high, unsigned low) {
    auto* self = reinterpret_cast<Fibre*>(uintptr_t(high) << 32 | low);
    arrive(nullptr, &self->host_stack_, &self->host_bytes_);
    for (;;) {
        self->job_(self->argument_);
        self->suspend();
    }
}

void Fibre::resume() {
    void* kept = nullptr;
    leave_for(&kept, stack_, bytes);
    if (!_setjmp(outside_)) {
        if (entered_) _longjmp(inside_, 1);
        entered_ = true;
        ucontext_t start;
        getcontext(&start);
        start.uc_stack.ss_sp = stack_;
        start.uc_stack.ss_size = bytes;
        start.uc_link = nullptr;
        const auto self = reinterpret_cast<uintptr_t>(this);
        makecontext(&start, reinterpret_cast<void (*)()>(enter), 2, unsigned(self >> 32),
                    unsigned(self));
        setcontext(&start);
    }
    arrive(kept, nullptr, nullptr);
}

void Fibre::suspend() {
    void* kept = nullptr;
    leave_for(&kept, host_stack_, host_bytes_);
    if (!_setjmp(inside_)) _longjmp(outside_, 1);
    arrive(kept, &host_stack_, &host_bytes_);
}

}  // namespace emulated
