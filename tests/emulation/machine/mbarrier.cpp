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
    uint32_t agent;  // of the copies that complete here; their time is the phase they end
    unsigned expected, pending;
    int64_t bytes = 0;
    uint32_t phase = 0;
    Gathering gathered;   // from who arrived in this phase
    Knowledge completed;  // what waiters for the phases before learn

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
    return "phase " + std::to_string(m->phase) + " of an mbarrier of " + m->block->name() +
           ", which lacks " + std::to_string(m->pending) + " of " + std::to_string(m->expected) +
           " arrivals and " + std::to_string(m->bytes) + " bytes";
}

}  // namespace

void mbarrier_init(void* address, unsigned count) {
    ENTER;
    yield();
    check_alignment(address, 8);
    Block* block = owner(home(address));
    if (block != current->block) fault("an mbarrier lies in the shared memory of its own block");
    if (count < 1 || count > most) fault("an mbarrier expects between 1 and 2^20 - 1 arrivals");
    const auto [place, fresh] = mbarriers.try_emplace(uintptr_t(home(address)));
    if (!fresh) fault("an mbarrier was initialised twice");
    if (block->mbarriers == block_mbarriers) fault("more than 256 mbarriers in a block");
    const uint32_t agent = block->first_agent + grid->threads * thread_agents + block->mbarriers++;
    place->second = {block, agent, count, count, 0, 0, {}, {}};
    touch(address, 8, plain(true));
    make_opaque(address, true);
}

void mbarrier_invalidate(void* address) {
    ENTER;
    yield();
    find(address);
    Access access = atomic(true);  // it may be touched, but not beside others
    touch(address, 8, access);
    make_opaque(address, false);
    touch(address, 8, plain(true));
    mbarriers.erase(uintptr_t(home(address)));
}

void mbarrier_arrive(void* address, unsigned bytes) {
    ENTER;
    yield();
    Mbarrier& m = find(address);
    touch(address, 8, atomic(true));
    // All arrivals have come, only bytes are missing: whose is this?
    if (!m.pending) fault("an arrival more than the mbarrier expects in a phase");
    m.gathered.add(current->known, current->agent, current->time++);
    m.bytes += bytes;
    check_bytes(m);
    m.pending--;
    m.check();
}

void mbarrier_expect(void* address, unsigned bytes) {
    ENTER;
    yield();
    Mbarrier& m = find(address);
    touch(address, 8, atomic(true));
    m.bytes += bytes;
    check_bytes(m);
}

bool mbarrier_try_wait(const void* address, unsigned parity) {
    ENTER;
    yield();
    Mbarrier& m = find(address);
    if (m.block != current->block) fault("a wait at the mbarrier of another block");
    touch(address, 8, atomic(false));
    if ((m.phase & 1) == (parity & 1)) block_on(&m, describe, false);
    if ((m.phase & 1) == (parity & 1)) return false;
    current->learn(m.completed);
    return true;
}

Access mbarrier_copy(const void* address, bool async_proxy) {
    const Mbarrier& m = find(address);
    Access access = atomic(true);
    access.async_proxy = async_proxy;
    touch(address, 8, access);
    access.agent = m.agent;
    access.time = new_landing();
    access.atomic = false;
    access.deferred = true;
    return access;
}

void mbarrier_landed(const void* address, unsigned bytes, uint32_t landing, const Start& start) {
    Mbarrier& m = find(address);
    set_landed(landing, m.phase + 1);
    m.gathered.add_seen(m.agent, m.phase + 1);
    m.gathered.add_finished(start.known, start.agent, start.time);
    m.bytes -= bytes;
    check_bytes(m);
    m.check();
}

void forget_mbarriers(uintptr_t begin, uintptr_t end) {
    mbarriers.erase(mbarriers.lower_bound(begin), mbarriers.lower_bound(end));
}

}  // namespace emulated
