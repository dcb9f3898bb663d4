// Copies that run by themselves: cp.async, bulk copies, stores to a peer. They read and write as
// late as they may, or earlier; until someone has waited for them, touching either end is a race.
#pragma once

#include <cstddef>
#include <cstdint>

namespace emulated {

struct Gang;
struct Thread;

// cp.async: `read` bytes are copied, the rest of `bytes` is zero.
void copy_async(void* shared, const void* global, unsigned bytes, unsigned read);
void commit_copies();
// Until no more than this many of the thread's last groups are under way.
void wait_for_copies(unsigned groups);

// A store to a peer, and bulk copies; these complete on an mbarrier of the block that gets them.
void store_async(void* to, const void* value, unsigned bytes, void* mbarrier);
void bulk_load(void* shared, const void* global, unsigned bytes, void* mbarrier);
void bulk_send(void* to, const void* shared, unsigned bytes, void* mbarrier);

// From shared to global memory, in groups; a wait may be for the reads alone.
void bulk_store(void* global, const void* shared, unsigned bytes);
void commit_bulk();
void wait_for_bulk(unsigned groups, bool reads_only);

// One that is under way lands, any of them; false if there is none.
bool land_any();
// When a thread exits: those that no mbarrier waits for. When a gang ends: all that are left.
void land_all_of(Thread& thread);
void land_all_of(Gang& gang);
void forget_copies();

}  // namespace emulated
