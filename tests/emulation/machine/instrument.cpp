// What -fsanitize=thread makes of a kernel's loads and stores: calls of these functions, ours
// instead of ThreadSanitizer's own.
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "fault.h"
#include "grid.h"
#include "memory.h"
#include "scheduler.h"
#include "sharing.h"

using namespace emulated;

namespace {

// Of one thread between two points where others may go on.
constexpr uint64_t most_accesses = 50'000'000;

void access(void* address, size_t bytes, bool write, bool aligned, const void* site) {
    if (!current || unseen() || current->fibre->owns(uintptr_t(address))) return;
    current->site = site;
    if (aligned) check_alignment(address, bytes);
    if (touch(address, bytes, plain(write))) busy();
    if (current->accesses++ == most_accesses)
        fault("no end: a loop in which nobody else can go on");
}

// Nobody may cache it, everybody may see it: as a relaxed access.
void volatile_access(void* address, size_t bytes, bool write, const void* site) {
    if (!current || unseen() || current->fibre->owns(uintptr_t(address))) return;
    current->site = site;
    check_alignment(address, bytes);
    if (write)
        before_store(address, bytes, Order::relaxed);
    else
        before_load(address, bytes, Order::relaxed);
}

}  // namespace

#define HERE __builtin_return_address(0)
#define ACCESSES(bytes)                                                                   \
    void __tsan_read##bytes(void* p) { access(p, bytes, false, true, HERE); }             \
    void __tsan_write##bytes(void* p) { access(p, bytes, true, true, HERE); }             \
    void __tsan_unaligned_read##bytes(void* p) { access(p, bytes, false, false, HERE); }  \
    void __tsan_unaligned_write##bytes(void* p) { access(p, bytes, true, false, HERE); }  \
    void __tsan_volatile_read##bytes(void* p) { volatile_access(p, bytes, false, HERE); } \
    void __tsan_volatile_write##bytes(void* p) { volatile_access(p, bytes, true, HERE); }

extern "C" {
ACCESSES(1)
ACCESSES(2)
ACCESSES(4)
ACCESSES(8)
ACCESSES(16)
void __tsan_read_range(void* p, size_t bytes) { access(p, bytes, false, false, HERE); }
void __tsan_write_range(void* p, size_t bytes) { access(p, bytes, true, false, HERE); }
void __tsan_init() { set_instrumented(); }

// The linker sends a kernel's calls here.
void* __wrap_memcpy(void* to, const void* from, size_t bytes) {
    access(const_cast<void*>(from), bytes, false, false, HERE);
    access(to, bytes, true, false, HERE);
    return std::memcpy(to, from, bytes);
}
void* __wrap_memmove(void* to, const void* from, size_t bytes) {
    access(const_cast<void*>(from), bytes, false, false, HERE);
    access(to, bytes, true, false, HERE);
    return std::memmove(to, from, bytes);
}
void* __wrap_memset(void* to, int value, size_t bytes) {
    access(to, bytes, true, false, HERE);
    return std::memset(to, value, bytes);
}
}
