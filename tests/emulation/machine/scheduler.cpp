#include "scheduler.h"

#include <algorithm>
#include <optional>
#include <set>
#include <unordered_map>

#include "copies.h"
#include "fault.h"
#include "launch.h"
#include "mbarrier.h"
#include "memory.h"
#include "shared_window.h"
#include "sharing.h"

namespace emulated {

Grid* grid;
Thread* current;

namespace {

uint64_t seed_set, state;

// xorshift64*, Vigna 2016.
uint64_t next() {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 0x2545f4914f6cdd1d;
}

// The schedule of one launch: the ready thread of highest priority goes. Priorities of threads,
// warps or whole blocks are drawn at the start and now and then after (Burckhardt et al. 2010,
// probabilistic concurrency testing): a warp or a block may be held up for as long as the others
// can go on without it.
class Schedule {
public:
    explicit Schedule() {
        in_order_ = seed_set == 0;
        state = (seed_set + 1) * 0x9e3779b97f4a7c15;
        level_ = int(draw(3));
        redraw_ = 1u << (2 * draw(4));
        resident_ = in_order_ ? 1 : 1 + draw(4);
    }

    void add(Thread& t) {
        if (in_order_) {
            t.priority = ~uint64_t(t.agent);
        } else if (!t.priority || !draw(redraw_)) {
            uint64_t& warp = t.block->warp_bias[t.number / 32];
            if (!t.block->bias || !draw(8)) t.block->bias = next();
            if (!warp || !draw(8)) warp = next();
            t.priority = (level_ == 2 ? t.block->bias : level_ == 1 ? warp : next()) << 20 |
                         next() >> 44;
        }
        ready_.insert({t.priority, t.agent, &t});
    }
    Thread* take() {
        if (ready_.empty()) return nullptr;
        const auto last = std::prev(ready_.end());
        Thread* t = std::get<2>(*last);
        ready_.erase(last);
        return t;
    }
    void wait(Thread& t) { waiting_[t.key].push_back(&t); }
    bool release(const void* key) {
        const auto found = waiting_.find(key);
        if (found == waiting_.end()) return false;
        const std::vector<Thread*> threads = std::move(found->second);
        waiting_.erase(found);
        for (Thread* t : threads) free(*t);
        return true;
    }
    // Those that are not patient.
    bool release_impatient() {
        std::vector<Thread*> woken;
        for (auto it = waiting_.begin(); it != waiting_.end();) {
            auto& [key, threads] = *it;
            const auto patient = std::stable_partition(threads.begin(), threads.end(),
                                                       [](Thread* t) { return t->patient; });
            woken.insert(woken.end(), patient, threads.end());
            threads.erase(patient, threads.end());
            it = threads.empty() ? waiting_.erase(it) : std::next(it);
        }
        std::sort(woken.begin(), woken.end(), [](auto* a, auto* b) { return a->agent < b->agent; });
        for (Thread* t : woken) free(*t);
        return !woken.empty();
    }
    std::string everyone_waiting() const;

    uint64_t resident() const { return resident_; }
    uint64_t steps = 0;
    unsigned stalls = 0;

private:
    void free(Thread& t) {
        t.key = nullptr;
        add(t);
    }

    bool in_order_;
    int level_;
    uint64_t redraw_, resident_;
    std::set<std::tuple<uint64_t, uint32_t, Thread*>> ready_;
    std::unordered_map<const void*, std::vector<Thread*>> waiting_;
};

std::optional<Schedule> schedule;
std::optional<std::string> failure;
uint64_t clock_now;
std::vector<std::unique_ptr<Fibre>> idle_fibres;

// Threads that stand at the same place for the same reason share a line.
std::string Schedule::everyone_waiting() const {
    std::map<std::string, std::vector<Thread*>> reasons;
    for (const auto& [key, threads] : waiting_)
        for (Thread* t : threads)
            reasons[t->block->name() + " at " + position(t->site) + ", waiting for " +
                    t->describe(t->key)]
                .push_back(t);
    std::string text;
    for (auto& [reason, threads] : reasons) {
        std::vector<unsigned> numbers;
        for (Thread* t : threads) numbers.push_back(t->number);
        std::sort(numbers.begin(), numbers.end());
        text += "\n  threads ";
        for (size_t i = 0, j; i < numbers.size(); i = j + 1) {
            for (j = i; j + 1 < numbers.size() && numbers[j + 1] == numbers[j] + 1;) j++;
            text += (i ? "," : "") + std::to_string(numbers[i]);
            if (j > i) text += "-" + std::to_string(numbers[j]);
        }
        text += " of " + reason;
    }
    return text;
}

void enter(void*) { grid->launch.enter(grid->launch.call); }

void run_thread(Thread& t) {
    if (!t.fibre) {
        if (idle_fibres.empty()) idle_fibres.push_back(std::make_unique<Fibre>());
        t.fibre = idle_fibres.back().release();
        idle_fibres.pop_back();
        t.fibre->give(
            [](void* thread) {
                enter(nullptr);
                static_cast<Thread*>(thread)->exited = true;
            },
            &t);
        t.block->started = true;
    }
    enter_block(*t.block);
    current = &t;
    set_builtins(t);
    t.fibre->resume();
    current = nullptr;
    if (!t.exited) return;
    idle_fibres.emplace_back(t.fibre);
    t.fibre = nullptr;
}

void leave(Thread& t) {
    Block& block = *t.block;
    Gang& gang = *block.gang;
    land_all_of(t);
    block.alive--;
    schedule->stalls = 0;
    check(block.warps[t.number / 32], block.lanes(t.number / 32));
    for (auto& [id, barrier] : block.barriers)
        if (id == 0) barrier.check(block.alive);
    block.cluster->barrier.check(block.cluster->alive());
    gang.barrier.check(gang.alive());
    if (!gang.alive()) land_all_of(gang);
}

// Nobody can go on: what runs by itself lands, then time passes.
void stall() {
    if (land_any()) return;
    pass(uint64_t(1000) << std::min(schedule->stalls, 40u));
    if (schedule->stalls++ < 64 && schedule->release_impatient()) return;
    throw Fault("deadlock: nobody can go on" + schedule->everyone_waiting());
}

std::vector<std::unique_ptr<Gang>> gangs_of(const Launch& launch) {
    const dim3 g = launch.grid, c = launch.cluster;
    std::vector<std::unique_ptr<Gang>> gangs;
    std::map<unsigned, Gang*> by_cluster;
    for (unsigned z = 0, linear = 0; z < g.z; z++)
        for (unsigned y = 0; y < g.y; y++)
            for (unsigned x = 0; x < g.x; x++, linear++) {
                const unsigned cluster = (z / c.z * (g.y / c.y) + y / c.y) * (g.x / c.x) + x / c.x;
                Gang*& gang = by_cluster[launch.cooperative ? 0 : cluster];
                if (!gang) gang = gangs.emplace_back(std::make_unique<Gang>()).get();
                gang->places.push_back({dim3(x, y, z), linear, cluster});
            }
    return gangs;
}

void start(Gang& gang) {
    for (const Gang::Place& p : gang.places)
        gang.blocks.push_back(
            std::make_unique<Block>(*grid, gang, gang.clusters[p.cluster], p.index, p.linear));
    for (auto& block : gang.blocks)
        for (Thread& t : block->threads) schedule->add(t);
}

void run_all(const Launch& launch) {
    auto waiting = gangs_of(launch);
    if (seed_set)
        for (size_t i = waiting.size(); i > 1; i--) std::swap(waiting[i - 1], waiting[draw(i)]);
    std::reverse(waiting.begin(), waiting.end());  // taken from the end
    std::vector<std::unique_ptr<Gang>> running;
    for (;;) {
        std::erase_if(running, [](const auto& gang) { return !gang->alive(); });
        while (running.size() < schedule->resident() && !waiting.empty()) {
            start(*running.emplace_back(std::move(waiting.back())));
            waiting.pop_back();
        }
        if (running.empty()) return;
        Thread* t = schedule->take();
        if (!t) {
            stall();
            continue;
        }
        clock_now++;
        if (++schedule->steps > 200'000'000) {
            throw Fault("no end after 200 million switches, last " + t->name() + " at " +
                        position(t->site));
        }
        run_thread(*t);
        if (failure) throw Fault(*failure);
        if (t->exited)
            leave(*t);
        else if (t->key)
            schedule->wait(*t);
        else
            schedule->add(*t);
        if (seed_set && !draw(8)) land_any();
    }
}

}  // namespace

void set_seed(uint64_t seed) { seed_set = seed; }

uint64_t draw(uint64_t n) { return n ? next() % n : 0; }

void yield() { current->fibre->suspend(); }

void block_on(const void* key, Describe describe, bool patient) {
    current->key = key;
    current->describe = describe;
    current->patient = patient;
    current->fibre->suspend();
}

void wake(const void* key) {
    if (schedule->release(key)) schedule->stalls = 0;
}

uint64_t now() { return clock_now; }
void pass(uint64_t nanoseconds) { clock_now += nanoseconds; }

void fault(const std::string& what) {
    if (!current) throw Fault(what);
    failure = what + "\n  " + current->name() + " at " + position(current->site);
    for (;;) current->fibre->suspend();
}

void run(const Launch& launch) {
    struct Cleanup {
        ~Cleanup() {
            current = nullptr;
            failure.reset();
            schedule.reset();
            forget_copies();
            forget_mbarriers(0, UINTPTR_MAX);
            forget_published(0, UINTPTR_MAX);
            forget_launch();
        }
    } cleanup;
    schedule.emplace();
    const Grid one(launch);
    add_launch(launch);
    run_all(launch);
}

}  // namespace emulated
