#include "meeting.h"

#include "fault.h"
#include "grid.h"
#include "memory.h"
#include "scheduler.h"

namespace emulated {
namespace {

std::string describe(const void* key) {
    const auto* m = static_cast<const Meeting*>(key);
    char text[120];
    std::snprintf(text, sizeof(text), "lanes %#x at %s, of which %#x are there", m->mask & m->there,
                  m->what, m->come);
    return text;
}

bool complete(Meeting& m) {
    if (m.come != (m.mask & m.there)) return false;
    if (m.kind == Meet::whole_warp && m.there != 0xffffffff)
        fault(std::string(m.what) + " needs all 32 lanes of a warp, some do not exist or exited");
    if (m.together) {
        const Unseen machine;  // it reads and writes other lanes' stacks
        m.together(m.lanes);
    }
    if (m.kind == Meet::ordering_lanes) m.all = m.gathering.all();
    return true;
}

}  // namespace

void meet(const char* what, uint32_t mask, const void* in, void* out, Together together,
          Meet kind) {
    if (kind == Meet::lanes) ENTER;
    busy();
    const uint32_t me = 1u << current->lane();
    const unsigned warp = current->number / 32;
    Meetings& meetings = current->block->warps[warp];
    if (!(mask & me)) fault(std::string(what) + " with a mask that leaves out the calling lane");
    auto& place = meetings[{what, mask}];
    if (!place) {
        place = std::make_shared<Meeting>();
        place->what = what;
        place->mask = mask;
        place->together = together;
        place->kind = kind;
    }
    const std::shared_ptr<Meeting> meeting = place;  // outlives its place in the map
    meeting->come |= me;
    meeting->there = current->block->lanes(warp);
    meeting->lanes.in[current->lane()] = in;
    meeting->lanes.out[current->lane()] = out;
    if (kind == Meet::ordering_lanes) {
        meeting->gathering.add(current->known, current->own());
        current->time++;
    }
    if (complete(*meeting)) {
        meetings.erase({what, mask});
        wake(meeting.get());
        yield();
    } else {
        block_on(meeting.get(), describe);
    }
    if (kind == Meet::ordering_lanes) current->learn(meeting->all);
}

void check(Meetings& meetings, uint32_t there) {
    for (auto it = meetings.begin(); it != meetings.end();) {
        Meeting& m = *it->second;
        m.there = there;
        if (m.come && complete(m)) {
            const auto done = it->second;
            it = meetings.erase(it);
            wake(done.get());
        } else {
            it++;
        }
    }
}

}  // namespace emulated
