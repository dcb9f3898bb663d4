// Between the kernels' headers and the machine.
#pragma once

#include "grid.h"

namespace emulated {

// Throws Fault.
void run(const Launch& launch);
// The running thread's view of threadIdx and the like.
void set_builtins(const Thread& thread);
// Shared memory given at launch, of the running block.
void* dynamic_shared();

void sync_all();
void sync_part(unsigned barrier, unsigned threads, bool wait);
void sync_warp(uint32_t mask);
void cluster_arrive(bool release);
void cluster_wait();
void sync_grid();
int lane();
// First lane of the calling one's segment, in which lanes shuffle.
int segment_start(int width);
unsigned cluster_rank();
unsigned cluster_size();
// Where a peer has what this block has at `shared`.
void* peer(const void* shared, unsigned rank);

}  // namespace emulated
