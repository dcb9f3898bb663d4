#include "sharing.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "fault.h"
#include "grid.h"
#include "memory.h"
#include "scheduler.h"
#include "shared_window.h"

namespace emulated {
namespace {

// What those learn who load a value from there.
std::map<uintptr_t, Knowledge> published;

// Waiters on an address are kept by its aligned 16 bytes.
const void* granule(const void* address) {
    return reinterpret_cast<const void*>(uintptr_t(home(address)) / 16 * 16);
}

// Who waits for one of several addresses waits for any.
const void* const anywhere = &published;

std::string describe(const void*) { return "another value at that address"; }

void learn_from(const void* address, Order order) {
    const auto found = published.find(uintptr_t(home(address)));
    if (found == published.end()) return;
    if (order == Order::acquire)
        current->learn(found->second);
    else
        current->noticed = join(current->noticed, found->second);
}

void publish(void* address, Order order, bool keep) {
    Knowledge& there = published[uintptr_t(home(address))];
    const Knowledge mine = order == Order::release ? current->tell() : current->released;
    there = keep ? join(there, mine) : mine;
}

// The same value found at the same place once more, with nothing done since: it waits for another,
// there or at any of the places where it has looked.
void wait_if_again(const void* address, size_t bytes) {
    auto& loads = current->loads;
    const auto here = [&] {
        Thread::Load load = {address, current->site, 0};
        std::memcpy(&load.value, address, bytes < 8 ? bytes : 8);
        return load;
    };
    if (std::ranges::find(loads, here()) != loads.end()) {
        const bool alone = loads.size() == 1;
        block_on(alone ? granule(address) : anywhere, describe, false);
        loads.clear();
    }
    loads.push_back(here());
    current->polls++;
}

}  // namespace

void before_load(const void* address, size_t bytes, Order order) {
    yield();
    touch(address, bytes, atomic(false));
    wait_if_again(address, bytes);
    learn_from(address, order);
}

void before_store(void* address, size_t bytes, Order order) {
    yield();
    busy();
    touch(address, bytes, atomic(true));
    publish(address, order, false);
    written(address, bytes);
}

void load(const void* address, size_t bytes, void* value, Order order) {
    ENTER;
    check_alignment(address, bytes);
    before_load(address, bytes, order);
    std::memcpy(value, address, bytes);
}

void store(void* address, size_t bytes, const void* value, Order order) {
    ENTER;
    check_alignment(address, bytes);
    before_store(address, bytes, order);
    std::memcpy(address, value, bytes);
}

void update(void* address, size_t bytes, Apply apply, void* operand, void* old, Order order) {
    ENTER;
    check_alignment(address, bytes);
    yield();
    Access access = atomic(true);
    access.also_read = true;
    touch(address, bytes, access);
    char value[16];
    std::memcpy(value, address, bytes);
    std::memcpy(old, value, bytes);
    learn_from(address, order);
    if (apply(value, operand)) {
        // One that leaves the value as it was, as of a lock, may be a wait of another kind.
        if (std::memcmp(value, old, bytes)) busy();
        publish(address, order, true);
        std::memcpy(address, value, bytes);
        written(address, bytes);
    } else {
        wait_if_again(address, bytes);
    }
}

void fence() {
    ENTER;
    yield();
    current->learn(current->noticed);
    current->noticed = {};
    current->released = current->tell();
}

void proxy_fence() {
    ENTER;
    yield();
    const Knowledge mine = current->tell();
    current->known.fenced = join(mine.fenced, mine.seen);
}

void written(const void* address, size_t bytes) {
    for (size_t i = 0; i < bytes; i += 16) wake(granule(static_cast<const char*>(address) + i));
    wake(anywhere);
}

void forget_published(uintptr_t begin, uintptr_t end) {
    published.erase(published.lower_bound(begin), published.lower_bound(end));
}

}  // namespace emulated
