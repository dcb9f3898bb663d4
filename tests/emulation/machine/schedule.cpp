#include "schedule.h"

#include <algorithm>
#include <map>

#include "fault.h"

namespace emulated {
namespace {

// "0-31,33"
std::string ranges(std::vector<unsigned> numbers) {
    std::sort(numbers.begin(), numbers.end());
    std::string text;
    for (size_t i = 0, j; i < numbers.size(); i = j + 1) {
        for (j = i; j + 1 < numbers.size() && numbers[j + 1] == numbers[j] + 1;) j++;
        text += (i ? "," : "") + std::to_string(numbers[i]);
        if (j > i) text += "-" + std::to_string(numbers[j]);
    }
    return text;
}

}  // namespace

Schedule::Schedule(uint64_t seed) : in_order_(seed == 0), state_((seed + 1) * 0x9e3779b97f4a7c15) {
    level_ = Level(draw(3));
    redraw_ = uint64_t(1) << (2 * draw(4));
    resident_ = in_order_ ? 1 : 1 + draw(4);
}

// xorshift64*, Vigna 2016.
uint64_t Schedule::next() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return state_ * 0x2545f4914f6cdd1d;
}

uint64_t Schedule::draw(uint64_t n) { return next() % n; }

uint64_t Schedule::priority(Thread& thread) {
    Block& block = *thread.block;
    uint64_t& warp = block.warp_bias[thread.number / 32];
    if (!block.bias || !draw(8)) block.bias = next();
    if (!warp || !draw(8)) warp = next();
    const uint64_t first = level_ == Level::block  ? block.bias
                           : level_ == Level::warp ? warp
                                                   : next();
    return first << 20 | next() >> 44;
}

void Schedule::add(Thread& thread) {
    // In order, but who does nothing but load lets others go first at times.
    if (in_order_)
        thread.priority = UINT64_MAX - thread.agent - (uint64_t(thread.polls / 16) << 32);
    else if (!thread.priority || !draw(redraw_))
        thread.priority = priority(thread);
    ready_.insert({thread.priority, thread.agent, &thread});
}

Thread* Schedule::take() {
    if (ready_.empty()) return nullptr;
    const auto last = std::prev(ready_.end());
    Thread* thread = std::get<Thread*>(*last);
    ready_.erase(last);
    return thread;
}

void Schedule::wait(Thread& thread) { waiting_[thread.key].push_back(&thread); }

void Schedule::free(Thread& thread) {
    thread.key = nullptr;
    add(thread);
}

bool Schedule::release(const void* key) {
    const auto found = waiting_.extract(key);
    if (found.empty()) return false;
    for (Thread* thread : found.mapped()) free(*thread);
    return true;
}

bool Schedule::release_impatient() {
    std::vector<Thread*> released;
    for (auto& [key, threads] : waiting_) {
        const auto rest = std::stable_partition(threads.begin(), threads.end(),
                                                [](Thread* t) { return t->patient; });
        released.insert(released.end(), rest, threads.end());
        threads.erase(rest, threads.end());
    }
    std::erase_if(waiting_, [](const auto& entry) { return entry.second.empty(); });
    // In an order that addresses have no part in.
    std::sort(released.begin(), released.end(),
              [](const Thread* a, const Thread* b) { return a->agent < b->agent; });
    for (Thread* thread : released) {
        thread->idle = true;
        free(*thread);
    }
    return !released.empty();
}

std::string Schedule::everyone_waiting() const {
    std::map<std::string, std::vector<unsigned>> reasons;
    for (const auto& [key, threads] : waiting_)
        for (const Thread* t : threads)
            reasons[t->block->name() + " at " + position(t->site) + ", waiting for " +
                    t->describe(t->key)]
                .push_back(t->number);
    std::string text;
    for (const auto& [reason, numbers] : reasons)
        text += "\n  threads " + ranges(numbers) + " of " + reason;
    return text;
}

}  // namespace emulated
