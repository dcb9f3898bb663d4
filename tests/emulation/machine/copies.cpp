#include "copies.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "fault.h"
#include "grid.h"
#include "mbarrier.h"
#include "memory.h"
#include "scheduler.h"
#include "shared_window.h"
#include "sharing.h"

namespace emulated {
namespace {

enum class Kind { group, bulk_group, mbarrier };

struct Copy {
    Kind kind;
    Thread* thread;
    uint32_t group;    // of the thread's, or 0
    void* to;          // all addresses at home
    const void* from;  // null: the value
    unsigned bytes, read;
    // Of those that complete on an mbarrier.
    void* mbarrier = nullptr;
    uint32_t landing = 0;
    Start start = {};
    char value[16] = {};
};

std::vector<Copy> under_way;

void land(size_t i) {
    const Copy copy = under_way[i];
    under_way[i] = under_way.back();
    under_way.pop_back();
    for (const void* end : {const_cast<const void*>(copy.to), copy.from})
        if (const Block* block = owner(end); block && block->exited())
            fault("a copy is under way in the shared memory of " + block->name() +
                  ", which has exited; it started at " + position(copy.start.site));
    char* to = here(copy.to);
    std::memset(to, 0, copy.bytes);
    std::memcpy(to, copy.from ? here(copy.from) : copy.value, copy.read);
    written(to, copy.bytes);
    if (copy.kind == Kind::mbarrier)
        mbarrier_landed(copy.mbarrier, copy.bytes, copy.landing, copy.start);
}

template <class Condition>
void land_those(const Condition& condition) {
    for (size_t i = 0; i < under_way.size();) {
        if (condition(under_way[i]))
            land(i);
        else
            i++;
    }
}

// A group's copies are agents of the thread's; their time is the number of the group, from 1.
Access group_copy(Kind kind, bool write) {
    Access access = plain(write);
    access.agent += kind == Kind::group ? 1 : write ? 3 : 2;
    access.time = (kind == Kind::group ? current->groups : current->bulk_groups) + 1;
    access.async_proxy = kind == Kind::bulk_group;
    return access;
}

// Both ends of a copy in the thread's next group.
void start_in_group(Kind kind, void* to, const void* from, unsigned bytes, unsigned read) {
    busy();
    if (read) touch(from, read, group_copy(kind, false));
    touch(to, bytes, group_copy(kind, true));
    under_way.push_back({.kind = kind,
                         .thread = current,
                         .group = kind == Kind::group ? current->groups : current->bulk_groups,
                         .to = home(to),
                         .from = read ? home(from) : nullptr,
                         .bytes = bytes,
                         .read = read,
                         .start = {.site = current->site}});
}

// Until the groups before the last few have landed; what the caller then knows of: some of its
// agents.
void wait_for(Kind kind, uint32_t committed, unsigned groups, int first, int last) {
    yield();
    busy();
    if (committed <= groups) return;
    const uint32_t done = committed - groups;
    land_those(
        [&](const Copy& c) { return c.kind == kind && c.thread == current && c.group < done; });
    for (int agent = first; agent <= last; agent++) {
        uint32_t& waited = current->waited[agent - 1];
        waited = std::max(waited, done);
    }
}

bool mine(const void* shared) { return owner(home(shared)) == current->block; }

void check_bulk(const void* to, const void* from, unsigned bytes) {
    for (const void* address : {to, from}) check_alignment(address, 16);
    if (bytes % 16)
        fault("a bulk copy of " + std::to_string(bytes) + " bytes, not a multiple of 16");
}

// Both ends of a copy that completes on an mbarrier.
void start(void* to, const void* from, const void* value, unsigned bytes, void* mbarrier) {
    busy();
    to = home(to), mbarrier = home(mbarrier);
    const Block* block = owner(to);
    if (!block)
        fault("a copy that completes on an mbarrier, to other than shared memory: " +
              describe_address(to));
    if (block != owner(mbarrier)) fault("a copy that completes on the mbarrier of another block");
    Access access = mbarrier_copy(mbarrier, from != nullptr);
    if (from) {
        access.write = false;
        touch(from, bytes, access);
        access.write = true;
    }
    touch(to, bytes, access);
    // What its thread has written is not conveyed with it, but that it has read is.
    Copy copy = {.kind = Kind::mbarrier,
                 .thread = current,
                 .group = 0,
                 .to = to,
                 .from = from ? home(from) : nullptr,
                 .bytes = bytes,
                 .read = bytes,
                 .mbarrier = mbarrier,
                 .landing = access.time,
                 .start = {current->known, current->own(), current->site,
                           from ? owner(home(from)) : nullptr}};
    current->time++;
    if (value) std::memcpy(copy.value, value, bytes);
    under_way.push_back(copy);
    yield();
}

}  // namespace

void copy_async(void* shared, const void* global, unsigned bytes, unsigned read) {
    ENTER;
    check_alignment(shared, bytes);
    if (!mine(shared))
        fault("cp.async to other than the block's shared memory: " + describe_address(shared));
    if (read > bytes) fault("cp.async that reads more than it writes");
    if (read) {
        check_alignment(global, bytes);
        if (owner(home(global))) fault("cp.async out of shared memory");
    }
    start_in_group(Kind::group, shared, global, bytes, read);
}

void commit_copies() {
    ENTER;
    current->groups++;
}

void wait_for_copies(unsigned groups) {
    ENTER;
    wait_for(Kind::group, current->groups, groups, 1, 1);
}

void store_async(void* to, const void* value, unsigned bytes, void* mbarrier) {
    ENTER;
    check_alignment(to, bytes);
    start(to, nullptr, value, bytes, mbarrier);
}

void bulk_load(void* shared, const void* global, unsigned bytes, void* mbarrier) {
    ENTER;
    check_bulk(shared, global, bytes);
    if (owner(home(global))) fault("a bulk load out of shared memory");
    start(shared, global, nullptr, bytes, mbarrier);
}

void bulk_send(void* to, const void* shared, unsigned bytes, void* mbarrier) {
    ENTER;
    check_bulk(to, shared, bytes);
    if (!mine(shared))
        fault("a bulk copy to a peer out of other than shared memory: " + describe_address(shared));
    start(to, shared, nullptr, bytes, mbarrier);
}

void bulk_store(void* global, const void* shared, unsigned bytes) {
    ENTER;
    check_bulk(global, shared, bytes);
    if (!mine(shared))
        fault("a bulk store out of other than shared memory: " + describe_address(shared));
    if (owner(home(global))) fault("a bulk store into shared memory");
    current->last_bulk_group = current->bulk_groups + 1;
    start_in_group(Kind::bulk_group, global, shared, bytes, bytes);
}

void commit_bulk() {
    ENTER;
    current->bulk_groups++;
}

void wait_for_bulk(unsigned groups, bool reads_only) {
    ENTER;
    wait_for(Kind::bulk_group, current->bulk_groups, groups, 2, reads_only ? 2 : 3);
}

bool land_any() {
    if (under_way.empty()) return false;
    land(draw(under_way.size()));
    return true;
}

void land_all_of(Thread& thread) {
    if (thread.last_bulk_group > thread.waited[1])
        fault(thread.name() + " exits before its bulk stores have read shared memory");
    land_those([&](const Copy& c) { return c.thread == &thread && c.kind != Kind::mbarrier; });
}

void land_all_of(Gang& gang) {
    land_those([&](const Copy& c) { return c.thread->block->gang == &gang; });
}

void forget_copies() { under_way.clear(); }

}  // namespace emulated
