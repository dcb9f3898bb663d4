// Threads and the memory they share.
#pragma once

#include <cstddef>
#include <cstdint>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "../cell.h"
#include "memory.h"

namespace rnn::cpu::RNN_ISA {

// Uninitialised, aligned to a cache line. It ends in the thread it began in.
template <class T>
class Array {
public:
    Array() = default;
    explicit Array(int64_t n) {
        if (n) data_ = static_cast<T*>(take(std::size_t(n) * sizeof(T)));
    }
    Array(const Array&) = delete;
    Array& operator=(const Array&) = delete;
    ~Array() { give(data_); }

    RNN_HD T* operator+(int64_t i) const { return data_ + i; }

private:
    T* data_ = nullptr;
};

struct Range {
    int64_t begin, end;

    RNN_HD int64_t size() const { return end - begin; }
    RNN_HD bool empty() const { return end <= begin; }
    RNN_HD Range within(Range o) const {
        return {begin > o.begin ? begin : o.begin, end < o.end ? end : o.end};
    }
};

// The part of [0, n) that belongs to member i of m.
RNN_HD Range part(int64_t n, int m, int i) { return {n * i / m, n * (i + 1) / m}; }

// The members of a plan, dealt to as many threads as there turn out to be.
class Team {
public:
    Team(int members, int thread, int threads)
        : members_(members), thread_(thread), threads_(threads) {}

    template <class F>
    RNN_HD void each(F&& work) const {
        for (int i = thread_; i < members_; i += threads_) work(i);
    }

    // Every thread waits here for the others.
    RNN_HD void meet() const {
        if (threads_ > 1) {
#pragma omp barrier
        }
    }

private:
    int members_, thread_, threads_;
};

template <class F>
RNN_HD void with_team(int members, F&& work) {
#ifdef _OPENMP
    if (members > 1) {
#pragma omp parallel num_threads(members)
        work(Team(members, omp_get_thread_num(), omp_get_num_threads()));
        return;
    }
#endif
    work(Team(members, 0, 1));
}

}  // namespace rnn::cpu::RNN_ISA
