#include "barrier.h"

#include "fault.h"
#include "grid.h"
#include "scheduler.h"

namespace emulated {

Barrier::Round& Barrier::join(bool release) {
    Gathering& gathering = round_->gathering;
    if (release) {
        gathering.add(current->known, current->own());
    } else {  // hands on what a fence before it has released, and that reads are done
        gathering.add(current->released);
        gathering.add_finished(current->known, current->own());
    }
    current->time++;
    return *round_;
}

Barrier::Ticket Barrier::arrive(unsigned expected, bool release) {
    const Ticket ticket = round_;
    join(release).come++;
    round_->expected = expected;
    check();
    return ticket;
}

Barrier::Ticket Barrier::arrive_by_warp(unsigned expected) {
    const Ticket ticket = round_;
    if (round_->expected && round_->expected != expected) {
        fault("a barrier of " + std::to_string(expected) +
              " threads, where others came to one of " + std::to_string(round_->expected));
    }
    round_->expected = expected;
    const unsigned warp = current->number / 32;
    join(true).lanes[warp] |= 1u << current->lane();
    check_warp(warp, current->block->lanes(warp));
    return ticket;
}

void Barrier::check_warp(unsigned warp, uint32_t there) {
    const auto found = round_->lanes.find(warp);
    if (found == round_->lanes.end() || (there & ~found->second)) return;
    round_->lanes.erase(found);
    round_->come += 32;
    check();
}

void Barrier::expect_alive(unsigned expected) {
    round_->expected = expected;
    check();
}

void Barrier::withdraw(const Ticket& ticket) {
    if (has_come(ticket)) round_->come--;
}

void Barrier::check() {
    if (!round_->come || round_->come < round_->expected) return;
    const Ticket done = std::exchange(round_, std::make_shared<Round>());
    done->all = done->gathering.all();
    done->open = false;
    wake(done.get());
}

void Barrier::wait(const Ticket& ticket) {
    if (ticket->open)
        block_on(ticket.get(), describe);
    else
        yield();
    current->learn(ticket->all);
}

std::string Barrier::describe(const void* key) {
    const auto* round = static_cast<const Round*>(key);
    return "a barrier where " + std::to_string(round->come) + " of " +
           std::to_string(round->expected) + " threads are";
}

}  // namespace emulated
