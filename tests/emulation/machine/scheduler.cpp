#include "scheduler.h"

#include <algorithm>
#include <optional>

#include "copies.h"
#include "crash.h"
#include "fault.h"
#include "launch.h"
#include "mbarrier.h"
#include "memory.h"
#include "schedule.h"
#include "shared_window.h"
#include "sharing.h"

namespace emulated {

Grid* grid;
Thread* current;

namespace {

// When all wait, time passes this often, each time twice as much, before it is called a deadlock.
// (Without instrumentation a thread's work goes unseen, and looks like waiting.)
constexpr unsigned most_stalls = 1000, most_stalls_unseen = 100'000, most_doublings = 40;
constexpr uint64_t first_stall_ns = 1000;
// With nobody doing anything but loads, and in all.
constexpr uint64_t most_idle_switches = 5'000'000, most_switches = 1'000'000'000;

uint64_t next_seed, nanoseconds_now;
std::optional<Schedule> schedule;
unsigned stalls;
uint64_t idle_switches;
std::optional<std::string> failure;
std::vector<std::unique_ptr<Fibre>> idle_fibres;

using Gangs = std::vector<std::unique_ptr<Gang>>;

Gangs gangs_of(const Launch& launch) {
    const dim3 g = launch.grid, c = launch.cluster;
    Gangs gangs;
    std::map<unsigned, Gang*> by_cluster;
    for (unsigned z = 0, linear = 0; z < g.z; z++)
        for (unsigned y = 0; y < g.y; y++)
            for (unsigned x = 0; x < g.x; x++, linear++) {
                const unsigned cluster = (z / c.z * (g.y / c.y) + y / c.y) * (g.x / c.x) + x / c.x;
                Gang*& gang = by_cluster[launch.cooperative ? 0 : cluster];
                if (!gang) gang = gangs.emplace_back(std::make_unique<Gang>()).get();
                gang->places.push_back({dim3(x, y, z), linear, cluster});
            }
    if (!schedule->in_order())
        for (size_t i = gangs.size(); i > 1; i--) std::swap(gangs[i - 1], gangs[draw(i)]);
    return gangs;
}

void start(Gang& gang) {
    for (const Gang::Place& p : gang.places)
        gang.blocks.push_back(
            std::make_unique<Block>(*grid, gang, gang.clusters[p.cluster], p.index, p.linear));
    for (auto& block : gang.blocks)
        for (Thread& t : block->threads) schedule->add(t);
}

void run_kernel(void* thread) {
    grid->launch.enter(grid->launch.call);
    static_cast<Thread*>(thread)->exited = true;
}

// Until it yields, waits or exits.
void run_thread(Thread& t) {
    if (!t.fibre) {
        if (idle_fibres.empty()) idle_fibres.push_back(std::make_unique<Fibre>());
        t.fibre = idle_fibres.back().release();
        idle_fibres.pop_back();
        t.fibre->give(run_kernel, &t);
    }
    enter_block(*t.block);
    set_builtins(t);
    current = &t;
    t.accesses = 0;
    t.fibre->resume();
    current = nullptr;
    if (failure) throw Fault(*failure);
}

// Those who wait for all go on without it.
void leave(Thread& t) {
    Block& block = *t.block;
    Gang& gang = *block.gang;
    idle_fibres.emplace_back(t.fibre);
    t.fibre = nullptr;
    stalls = 0;
    idle_switches = 0;
    land_all_of(t);
    block.alive--;
    block.known_at_exit.add(t.known, t.own());
    if (block.exited()) check_visitors(block);
    const unsigned warp = t.number / 32;
    const uint32_t lanes = block.lanes(warp);
    check(block.warps[warp], lanes);
    for (Barrier& barrier : block.barriers) barrier.check_warp(warp, lanes);
    block.barriers[0].expect_alive(block.alive);
    Cluster& cluster = *block.cluster;
    cluster.barrier.withdraw(t.cluster_barrier);
    cluster.barrier.expect_alive(cluster.alive());
    if (!gang.alive()) land_all_of(gang);
}

// Nobody can go on: what runs by itself lands, or time passes.
void stall() {
    if (land_any()) return;
    pass(first_stall_ns << std::min(stalls, most_doublings));
    const unsigned most = is_instrumented() ? most_stalls : most_stalls_unseen;
    if (stalls++ < most && schedule->release_impatient()) return;
    throw Fault("deadlock: nobody can go on" + schedule->everyone_waiting());
}

void run_gangs(Gangs waiting) {
    Gangs running;
    auto next = waiting.begin();
    for (uint64_t switches = 0;; switches++) {
        while (running.size() < schedule->resident() && next != waiting.end())
            start(*running.emplace_back(std::move(*next++)));
        if (running.empty()) return;
        Thread* t = schedule->take();
        if (!t) {
            stall();
            continue;
        }
        pass(1);
        if (idle_switches++ == most_idle_switches || switches == most_switches) {
            throw Fault("no end, last " + t->name() + " at " + position(t->site) +
                        schedule->everyone_waiting());
        }
        run_thread(*t);
        if (t->exited) {
            leave(*t);
            if (t->block->exited())
                std::erase_if(running, [](const auto& gang) { return !gang->alive(); });
        } else if (t->key) {
            schedule->wait(*t);
        } else {
            schedule->add(*t);
        }
        if (spurious()) land_any();
    }
}

}  // namespace

void set_seed(uint64_t seed) { next_seed = seed; }

uint64_t draw(uint64_t n) { return schedule->draw(n); }

bool spurious() { return !schedule->in_order() && !draw(8); }

void yield() { current->fibre->suspend(); }

void block_on(const void* key, Describe describe, bool patient) {
    current->key = key;
    current->describe = describe;
    current->patient = patient;
    current->fibre->suspend();
}

void wake(const void* key) {
    if (schedule->release(key)) stalls = 0;
}

void busy() {
    Thread& t = *current;
    t.loads.clear();
    t.polls = 0;
    if (std::exchange(t.idle, false)) stalls = 0;
    idle_switches = 0;
}

uint64_t read_clock() {
    ENTER;
    yield();
    return nanoseconds_now;
}
void pass(uint64_t nanoseconds) { nanoseconds_now += nanoseconds; }

void fault(const std::string& what) {
    if (!current) throw Fault(what);
    failure = what + "\n  " + current->name() + " at " + position(current->site);
    for (;;) current->fibre->suspend();
}

void run(const Launch& launch) {
    struct Cleanup {
        ~Cleanup() {
            failure.reset();
            schedule.reset();
            forget_copies();
            forget_mbarriers(0, UINTPTR_MAX);
            forget_published(0, UINTPTR_MAX);
            forget_launch();
        }
    } cleanup;
    schedule.emplace(next_seed);
    stalls = 0;
    idle_switches = 0;
    const CrashReports reports(next_seed);
    const Grid one(launch);
    add_launch(launch);
    try {
        run_gangs(gangs_of(launch));
    } catch (const Fault& found) {
        throw Fault(found.what() + ("\n  in schedule " + std::to_string(next_seed)));
    }
}

}  // namespace emulated
