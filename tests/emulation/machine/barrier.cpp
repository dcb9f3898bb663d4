#include "barrier.h"

#include "grid.h"
#include "scheduler.h"

namespace emulated {

uint32_t Barrier::arrive(unsigned expected, bool release) {
    const uint32_t round = round_;
    come_++;
    if (release) {
        gathering_.add(current->known, current->agent, current->time);
        current->time++;
    }
    check(expected);
    return round;
}

void Barrier::check(unsigned expected) {
    expected_ = expected;
    if (!come_ || come_ < expected) return;
    all_ = gathering_.all();
    gathering_ = {};
    come_ = 0;
    round_++;
    wake(this);
}

void Barrier::wait(uint32_t round) {
    if (round_ == round)
        block_on(this, describe);
    else
        yield();
    current->learn(all_);
}

std::string Barrier::describe(const void* key) {
    const auto* self = static_cast<const Barrier*>(key);
    return "a barrier where " + std::to_string(self->come_) + " of " +
           std::to_string(self->expected_) + " threads are";
}

}  // namespace emulated
