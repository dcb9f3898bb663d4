// Every access of a kernel to memory comes by here: is it allowed, initialised, ordered?
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace emulated {

struct Block;
struct Launch;
struct Thread;

// Who accesses, and how.
struct Access {
    const void* site;
    uint32_t agent;
    uint32_t time;  // of the agent; or a number for landed(), if it is not known yet
    bool write = false;
    bool also_read = false;    // what it writes depends on what was there
    bool atomic = false;       // two of these are no race
    bool async_proxy = false;  // sees what others wrote only through a proxy fence
    bool deferred = false;     // the time is a number for landed()
};

// The calling thread's own access.
Access plain(bool write);
Access atomic(bool write);

// Faults unless the kernel may do this. False for memory that is no other thread's business: its
// own stack, constants. In a build without instrumentation, where plain accesses go unseen, only
// bounds are checked.
bool touch(const void* address, size_t bytes, const Access& access);
void check_alignment(const void* address, size_t bytes);

// The 8 bytes of an mbarrier are no ordinary memory.
void make_opaque(const void* address, bool opaque);

// The time an agent's access had when it landed, by number; unlanded: 2^32 - 1.
uint32_t new_landing();
void set_landed(uint32_t number, uint32_t time);

// From now on plain accesses are seen.
void set_instrumented();
bool is_instrumented();
// While one of these lives, the machine's own go unseen.
struct Unseen {
    Unseen();
    ~Unseen();
};
bool unseen();

void add_launch(const Launch& launch);
void forget_launch();
void add_shared(Block& block);
void remove_shared(Block& block);
// A peer or a copy has used a block's memory.
void visited(Block& block, const Access& by);
// When its last thread exits: faults unless all that peers did in its memory is known to be done.
void check_visitors(Block& block);
// "byte 8 of y, which has 200", for messages.
std::string describe_address(const void* address);
// The block whose shared memory this is (an address at home), or null.
Block* owner(const void* address);

}  // namespace emulated
