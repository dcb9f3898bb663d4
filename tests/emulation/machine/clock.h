// Who knows what of whom: vector clocks, after Lamport and FastTrack (Flanagan and Freund, 2009).
//
// An agent is whoever touches memory: a thread, or a copy that runs by itself. Each counts its own
// time; a clock holds, for each agent, the time up to which its accesses have happened before.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>
#include <memory>
#include <utility>
#include <vector>

namespace emulated {

class Clock {
public:
    uint32_t at(uint32_t agent) const {
        return agent - first_ < times_.size() ? times_[agent - first_] : 0;
    }
    void raise(uint32_t agent, uint32_t time) {
        cover(agent, agent + 1);
        times_[agent - first_] = std::max(times_[agent - first_], time);
    }
    void join(const Clock& other) {
        if (other.times_.empty()) return;
        cover(other.first_, other.first_ + uint32_t(other.times_.size()));
        uint32_t* to = times_.data() + (other.first_ - first_);
        for (size_t i = 0; i < other.times_.size(); i++) to[i] = std::max(to[i], other.times_[i]);
    }

    static constexpr uint32_t nobody = UINT32_MAX;
    // An agent of which the other knows more.
    uint32_t lacks(const Clock& other) const {
        for (size_t i = 0; i < other.times_.size(); i++)
            if (at(other.first_ + uint32_t(i)) < other.times_[i]) return other.first_ + uint32_t(i);
        return nobody;
    }
    bool covers(const Clock& other) const { return lacks(other) == nobody; }

private:
    // Agents of one cluster are neighbours, so only the range in use is kept.
    void cover(uint32_t begin, uint32_t end) {
        if (times_.empty()) first_ = begin;
        if (begin < first_) {
            times_.insert(times_.begin(), first_ - begin, 0);
            first_ = begin;
        }
        if (end - first_ > times_.size()) times_.resize(end - first_);
    }

    uint32_t first_ = 0;
    std::vector<uint32_t> times_;
};

// Shared by all who left the same barrier; never changed.
using Seen = std::shared_ptr<const Clock>;

struct Knowledge {
    Seen seen;      // what has happened before, and is visible
    Seen finished;  // what has come to its end, so that it may be written over
    Seen fenced;    // what has happened before a proxy fence: what bulk copies may read
};
inline uint32_t time_of(const Seen& clock, uint32_t agent) { return clock ? clock->at(agent) : 0; }

// What a thread knows without being told: of itself, and of its own copies that it has waited for.
// The agents of these come right after its own.
constexpr uint32_t thread_agents = 4;
struct Own {
    uint32_t agent;
    std::array<uint32_t, thread_agents> times;

    bool has(uint32_t other) const { return other - agent < thread_agents; }
    uint32_t at(uint32_t other) const { return times[other - agent]; }
    void raise(Clock& clock) const {
        for (uint32_t i = 0; i < thread_agents; i++)
            if (times[i]) clock.raise(agent + i, times[i]);
    }
};

inline Seen with(const Seen& clock, const Own& own) {
    Clock more = clock ? *clock : Clock();
    own.raise(more);
    return std::make_shared<const Clock>(std::move(more));
}
// Those who left one barrier and learn the same thing go on sharing what they know.
inline Seen join(const Seen& a, const Seen& b) {
    if (!b || a == b) return a;
    if (!a) return b;
    static struct {
        Seen a, b, sum;
    } recent[8];
    static size_t oldest = 0;
    for (const auto& r : recent)
        if (r.a == a && r.b == b) return r.sum;
    if (b->covers(*a)) return b;
    if (a->covers(*b)) return a;
    Clock sum = *a;
    sum.join(*b);
    auto& r = recent[oldest++ % std::size(recent)];
    return (r = {a, b, std::make_shared<const Clock>(std::move(sum))}).sum;
}
inline Knowledge join(const Knowledge& a, const Knowledge& b) {
    return {join(a.seen, b.seen), join(a.finished, b.finished), join(a.fenced, b.fenced)};
}

// The join of many, of whom most know the same.
class Gathering {
public:
    void add(const Knowledge& one) {
        seen_.add(one.seen);
        finished_.add(one.finished);
        fenced_.add(one.fenced);
    }
    void add(const Knowledge& one, const Own& own) {
        add(one);
        own.raise(seen_.sum);
        seen_.any = true;
    }
    // That all of it has come to its end.
    void add_finished(const Knowledge& one, const Own& own) {
        finished_.add(one.seen);
        finished_.add(one.finished);
        own.raise(finished_.sum);
        finished_.any = true;
    }
    void add_seen(uint32_t agent, uint32_t time) {
        seen_.sum.raise(agent, time);
        seen_.any = true;
    }
    Knowledge all() const { return {seen_.get(), finished_.get(), fenced_.get()}; }

private:
    struct Sum {
        Clock sum;
        bool any = false;
        Seen recent[2];

        void add(const Seen& one) {
            if (!one || one == recent[0] || one == recent[1]) return;
            sum.join(*one);
            recent[1] = std::exchange(recent[0], one);
            any = true;
        }
        Seen get() const { return any ? std::make_shared<const Clock>(sum) : nullptr; }
    };
    Sum seen_, finished_, fenced_;
};

}  // namespace emulated
