#include "launch.h"

#include "../include/builtins.h"
#include "fault.h"
#include "memory.h"
#include "scheduler.h"
#include "shared_window.h"

dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulated {

void set_builtins(const Thread& thread) {
    threadIdx = thread.index;
    blockIdx = thread.block->index;
    blockDim = grid->launch.block;
    gridDim = grid->launch.grid;
}

void* dynamic_shared() {
    Block& block = *current->block;
    return block.shared + (block.static_bytes + 15) / 16 * 16;
}

void sync_block(unsigned barrier, unsigned threads, bool wait) {
    ENTER;
    Block& block = *current->block;
    if (barrier > 15) fault("a block has barriers 0 to 15, not " + std::to_string(barrier));
    if (threads % 32) fault("a named barrier counts whole warps of threads");
    // Who has exited is not waited for; with a number given, that many must come.
    const unsigned expected = barrier == 0 && !threads ? block.alive : threads;
    Barrier& b = block.barriers[barrier];
    const uint32_t round = b.arrive(expected);
    if (wait)
        b.wait(round);
    else
        yield();
}

void sync_warp(uint32_t mask) {
    ENTER;
    meet("__syncwarp", mask, nullptr, nullptr, nullptr, true);
}

void cluster_arrive(bool release) {
    ENTER;
    if (current->in_cluster_barrier)
        fault("a second arrival at the cluster's barrier, with no wait");
    current->in_cluster_barrier = true;
    Cluster& cluster = *current->block->cluster;
    current->cluster_round = cluster.barrier.arrive(cluster.alive(), release);
    yield();
}

void cluster_wait() {
    ENTER;
    if (!current->in_cluster_barrier) fault("a wait at the cluster's barrier before the arrival");
    current->in_cluster_barrier = false;
    current->block->cluster->barrier.wait(current->cluster_round);
}

void sync_grid() {
    ENTER;
    if (!grid->launch.cooperative)
        fault("a barrier of the grid in a launch that is not cooperative");
    Gang& gang = *current->block->gang;
    gang.barrier.wait(gang.barrier.arrive(gang.alive()));
}

unsigned lane() { return current->lane(); }
unsigned cluster_rank() { return current->block->rank; }
unsigned cluster_size() { return unsigned(current->block->cluster->blocks.size()); }

void* peer(const void* shared, unsigned rank) {
    ENTER;
    const Block& mine = *current->block;
    const size_t offset = uintptr_t(home(shared)) - uintptr_t(mine.shared);
    if (offset > mine.bytes) fault("an address outside shared memory was to be mapped to a peer");
    if (rank >= cluster_size()) {
        fault("block " + std::to_string(rank) + " of a cluster of " +
              std::to_string(cluster_size()));
    }
    return here(mine.cluster->blocks[rank]->shared + offset);
}

}  // namespace emulated
