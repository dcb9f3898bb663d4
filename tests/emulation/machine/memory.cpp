#include "memory.h"

#include <vector>

#include "fault.h"
#include "grid.h"
#include "program.h"
#include "regions.h"
#include "shared_window.h"
#include "words.h"

namespace emulated {
namespace {

Regions regions;
Words words;
std::vector<uint32_t> landed;
bool instrumented = false, machine_at_work = false;

std::string place(const Region& region, uintptr_t address) {
    return "byte " + std::to_string(address - region.begin) + " of " + region.name;
}

const char* verb(const Access& a) {
    return a.atomic ? (a.write ? "atomic write" : "atomic read") : a.write ? "write" : "read";
}

uint32_t time_of(const Access& past) { return past.deferred ? landed[past.time] : past.time; }

bool seen(const Access& past) {
    if (past.agent == current->agent) return true;
    const Own own = current->own();
    const uint32_t known =
        own.has(past.agent) ? own.at(past.agent) : time_of(current->known.seen, past.agent);
    return known >= time_of(past);
}

// Whether the running thread may do this after that.
bool ordered(const Access& past, const Access& now) {
    if (now.async_proxy && past.write && !past.async_proxy)
        return time_of(current->known.fenced, past.agent) >= time_of(past);
    const bool only_over = now.write && !now.also_read && (!past.write || past.deferred);
    return seen(past) ||
           (only_over && time_of(current->known.finished, past.agent) >= time_of(past));
}

[[noreturn]] void race(const Access& past, const Access& now, const Region& region,
                       uintptr_t address) {
    std::string why;
    if (now.async_proxy && seen(past))
        why = " (no proxy fence between them)";
    else if (past.deferred && time_of(past) != UINT32_MAX)
        why = " (which counts towards phase " + std::to_string(time_of(past) - 1) + ")";
    else if (past.deferred)
        why = " (which is under way)";
    fault("race on " + place(region, address) + ": this " + verb(now) +
          " is not ordered after the " + verb(past) + " by " + grid->agent_name(past.agent) +
          " at " + position(past.site) + why);
}

void remember(Word& word, uint8_t mask, const Access& now, const Region& region,
              uintptr_t address) {
    size_t kept = 0;
    for (const Past& past : word.past) {
        const Access& a = past.access;
        const bool before = ordered(a, now);
        const bool conflict =
            (past.mask & mask) && (a.write || now.write) && !(a.atomic && now.atomic);
        if (conflict && !before) race(a, now, region, address);
        // A later access that conflicts with the past one then also conflicts with this one, and is
        // not ordered after this one unless it is after both.
        const bool replaced =
            before && !(past.mask & ~mask) && (now.write || !a.write) && (a.atomic || !now.atomic);
        if (!replaced) word.past[kept++] = past;
    }
    word.past.resize(kept);
    // Of an mbarrier only who initialised it matters: all that follows is atomic.
    if (!word.opaque) word.past.push_back({now, mask});
}

bool knows_of(const Block& peer) {
    for (const Thread& t : peer.threads)
        if (time_of(current->known.seen, t.agent) || time_of(current->known.finished, t.agent))
            return true;
    return false;
}

void visit(Block& peer, const Access& now) {
    const auto refuse = [&](const char* why) {
        fault("access to the shared memory of " + peer.name() + why);
    };
    if (peer.cluster != current->block->cluster) refuse(", of another cluster");
    if (!knows_of(peer)) refuse(", which may not have started");
    if (peer.exited()) refuse(", which has exited");
    if (!now.deferred) visited(peer, now);
}

const Region& region_of(uintptr_t address, size_t bytes, const Access& now) {
    const Region* region = regions.find(address, bytes);
    if (!region) {
        fault(std::string("out of bounds: ") + verb(now) + " of " + std::to_string(bytes) +
              " bytes at " + regions.near(address));
    }
    if (region->constant && now.write) fault("write to " + place(*region, address));
    if (Block* peer = region->shared; peer && peer != current->block) visit(*peer, now);
    return *region;
}

}  // namespace

Access plain(bool write) {
    return {.site = current->site, .agent = current->agent, .time = current->time, .write = write};
}
Access atomic(bool write) {
    Access access = plain(write);
    access.atomic = true;
    return access;
}

bool touch(const void* pointer, size_t bytes, const Access& now) {
    if (current->fibre->owns(uintptr_t(pointer))) return false;
    const auto address = uintptr_t(home(pointer));
    const Region& region = region_of(address, bytes, now);
    if (region.constant || !instrumented) return !region.constant;
    for (uintptr_t begin = address, end = address + bytes; begin < end;) {
        const uintptr_t next = std::min(begin / 8 * 8 + 8, end);
        const auto mask = uint8_t((0xff >> (8 - (next - begin))) << begin % 8);
        Word& word = words.at(begin);
        if (word.opaque && !now.atomic)
            fault("plain " + std::string(verb(now)) + " of an mbarrier");
        if (region.shared && (!now.write || now.also_read) && (mask & ~word.written))
            fault("read of " + place(region, begin) + ", which nobody has written");
        remember(word, mask, now, region, begin);
        if (now.write) word.written |= mask;
        begin = next;
    }
    return true;
}

void check_alignment(const void* address, size_t bytes) {
    if (uintptr_t(address) % bytes)
        fault("misaligned address: " + std::to_string(bytes) + " bytes at " +
              regions.near(uintptr_t(home(address))));
}

void make_opaque(const void* address, bool opaque) {
    Word& word = words.at(uintptr_t(home(address)));
    word.opaque = opaque;
    if (!opaque) word.written = 0;
}

uint32_t new_landing() {
    landed.push_back(UINT32_MAX);
    return uint32_t(landed.size() - 1);
}
void set_landed(uint32_t number, uint32_t time) { landed[number] = time; }

void add_shared(Block& block) {
    const auto begin = uintptr_t(block.shared), end = begin + block.bytes;
    const auto given = begin + block.given_at();
    regions.add(
        {begin, begin + block.static_bytes, "the static shared memory of " + block.name(), &block});
    regions.add({given, end, "the dynamic shared memory of " + block.name(), &block});
}
void remove_shared(Block& block) {
    regions.remove([&](const Region& r) { return r.shared == &block; });
    words.forget(uintptr_t(block.shared), uintptr_t(block.shared) + block.bytes);
}
void forget_launch() {
    words.forget();
    landed.clear();
    machine_at_work = false;
    regions.remove([](const Region& r) { return r.of_launch; });
}

void visited(Block& block, const Access& by) {
    (by.write ? block.writers : block.readers).raise(by.agent, by.time);
    block.visits[by.agent] = by.site;
}

void check_visitors(Block& block) {
    const Knowledge known = block.known_at_exit.all();
    const Seen done = join(known.seen, known.finished);
    for (const uint32_t peer : {done->lacks(block.readers), known.seen->lacks(block.writers)}) {
        if (peer == Clock::nobody) continue;
        fault(block.name() + " exits while its shared memory may still be used by " +
              grid->agent_name(peer) + " at " + position(block.visits[peer]));
    }
}

std::string describe_address(const void* address) { return regions.near(uintptr_t(home(address))); }

Block* owner(const void* address) {
    const Region* region = regions.find(uintptr_t(address), 1);
    return region ? region->shared : nullptr;
}

void set_instrumented() { instrumented = true; }
bool is_instrumented() { return instrumented; }
Unseen::Unseen() { machine_at_work = true; }
Unseen::~Unseen() { machine_at_work = false; }
bool unseen() { return machine_at_work; }

void add_launch(const Launch& launch) {
    const auto call = uintptr_t(launch.call);
    regions.add({call, call + launch.call_bytes, "the kernel's arguments", nullptr, true, true});
    for (const auto& [begin, end, writable] : program_of(launch.kernel).segments)
        regions.add({begin, end, "the kernel's program", nullptr, !writable, true});
    for (const auto& [begin, end, writable] : program_of(&words).segments)
        regions.add({begin, end, "the emulation", nullptr, true, true});
}

void add_buffer(const void* begin, size_t bytes, const std::string& name) {
    regions.add({uintptr_t(begin), uintptr_t(begin) + bytes, name});
}
void remove_buffer(const void* begin) {
    regions.remove([&](const Region& r) { return r.begin == uintptr_t(begin); });
}
void remove_all_buffers() {
    regions.remove([](const Region&) { return true; });
}

}  // namespace emulated
