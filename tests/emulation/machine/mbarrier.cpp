#include "mbarrier.h"

#include <map>
#include <string>

#include "fault.h"
#include "grid.h"
#include "scheduler.h"
#include "shared_window.h"

namespace emulated {
namespace {

// The manual's limits of counts and of bytes under way.
constexpr int64_t most = (1 << 20) - 1;

struct Mbarrier {
    Block* block;
    const void* address;  // at home
    uint32_t agent;       // of the copies that complete here; their time is the phase they end
    unsigned expected, pending;
    int64_t bytes = 0;
    uint32_t phase = 0;
    Gathering gathered = {};   // from who arrived in this phase
    Knowledge completed = {};  // what waiters for the phases before learn
    Clock users = {};          // who has used it, when
    unsigned waiting = 0;

    void check() {
        if (pending || bytes) return;
        phase++;
        pending = expected;
        completed = join(completed, gathered.all());
        gathered = {};
        wake(this);
    }
};

std::map<uintptr_t, Mbarrier> mbarriers;

Mbarrier& find(const void* address) {
    const auto found = mbarriers.find(uintptr_t(home(address)));
    if (found == mbarriers.end()) fault("no mbarrier was initialised at this address");
    return found->second;
}

void check_bytes(const Mbarrier& m) {
    if (m.bytes < -most || m.bytes > most) fault("an mbarrier counts more than 2^20 - 1 bytes");
}

std::string describe(const void* key) {
    const auto* m = static_cast<const Mbarrier*>(key);
    return "phase " + std::to_string(m->phase) + " of the mbarrier at " +
           describe_address(m->address) + ", which lacks " + std::to_string(m->pending) + " of " +
           std::to_string(m->expected) + " arrivals and " + std::to_string(m->bytes) + " bytes";
}

// The first thing every operation does.
Mbarrier& use(const void* address, bool write) {
    Mbarrier& m = find(address);
    touch(address, 8, atomic(write));
    m.users.raise(current->agent, current->time);
    return m;
}

}  // namespace

void mbarrier_init(void* address, unsigned count) {
    ENTER;
    yield();
    busy();
    check_alignment(address, 8);
    Block* block = owner(home(address));
    if (block != current->block) fault("an mbarrier lies in the shared memory of its own block");
    if (count < 1 || count > most) fault("an mbarrier expects between 1 and 2^20 - 1 arrivals");
    const auto [place, fresh] = mbarriers.try_emplace(uintptr_t(home(address)));
    if (!fresh) fault("an mbarrier was initialised twice");
    if (block->mbarriers == block_mbarriers) fault("more than 128 mbarriers in a block");
    const uint32_t agent =
        block->first_agent + grid->threads * thread_agents + mbarrier_agents * block->mbarriers++;
    place->second = {block, home(address), agent, count, count};
    // By an agent of its own, so that a fence can be for this alone.
    const Own init = {agent + 1, {1}};
    touch(address, 8, {.site = current->site, .agent = init.agent, .time = 1, .write = true});
    make_opaque(address, true);
    current->known.seen = with(current->known.seen, init);
    current->inits = with(current->inits, init);
}

void mbarrier_init_fence() {
    ENTER;
    yield();
    current->released.seen = join(current->released.seen, current->inits);
    current->known.fenced = join(current->known.fenced, current->inits);
}

void mbarrier_invalidate(void* address) {
    ENTER;
    yield();
    busy();
    const Mbarrier& m = find(address);
    if (m.waiting) fault("an mbarrier that threads wait at was invalidated");
    Clock known = current->known.seen ? *current->known.seen : Clock();
    current->own().raise(known);
    if (!known.covers(m.users)) fault("race on an mbarrier: it was invalidated while in use");
    make_opaque(address, false);
    touch(address, 8, plain(true));
    mbarriers.erase(uintptr_t(home(address)));
}

void mbarrier_arrive(void* address, unsigned bytes) {
    ENTER;
    yield();
    busy();
    Mbarrier& m = use(address, true);
    // All arrivals have come, only bytes are missing: whose is this?
    if (!m.pending) fault("an arrival more than the mbarrier expects in a phase");
    m.gathered.add(current->known, current->own());
    current->time++;
    m.bytes += bytes;
    check_bytes(m);
    m.pending--;
    m.check();
}

void mbarrier_expect(void* address, unsigned bytes) {
    ENTER;
    yield();
    busy();
    Mbarrier& m = use(address, true);
    m.bytes += bytes;
    check_bytes(m);
    m.check();
}

bool mbarrier_try_wait(const void* address, unsigned parity) {
    ENTER;
    yield();
    Mbarrier& m = use(address, false);
    if (m.block != current->block) fault("a wait at the mbarrier of another block");
    const auto complete = [&] { return (m.phase & 1) != (parity & 1); };
    if (!complete()) {
        m.waiting++;
        block_on(&m, describe, false);
        m.waiting--;
    }
    // It may also give up for no reason.
    if (!complete() || spurious()) return false;
    busy();
    current->learn(m.completed);
    return true;
}

Access mbarrier_copy(const void* address, bool async_proxy) {
    Mbarrier& m = find(address);
    Access access = atomic(true);
    access.async_proxy = async_proxy;
    access.deferred = true;  // its thread is done with the mbarrier, the copy is not
    touch(address, 8, access);
    m.users.raise(current->agent, current->time);
    access.agent = m.agent;
    access.time = new_landing();
    access.atomic = false;
    return access;
}

void mbarrier_landed(const void* address, unsigned bytes, uint32_t landing, const Start& start) {
    Mbarrier& m = find(address);
    set_landed(landing, m.phase + 1);
    m.users.raise(m.agent, m.phase + 1);
    Access copy = {.site = start.site, .agent = m.agent, .time = m.phase + 1, .write = true};
    visited(*m.block, copy);
    copy.write = false;
    if (start.source) visited(*start.source, copy);
    m.gathered.add_seen(m.agent, m.phase + 1);
    m.gathered.add_finished(start.known, start.own);
    m.bytes -= bytes;
    check_bytes(m);
    m.check();
}

void forget_mbarriers(uintptr_t begin, uintptr_t end) {
    mbarriers.erase(mbarriers.lower_bound(begin), mbarriers.lower_bound(end));
}

}  // namespace emulated
