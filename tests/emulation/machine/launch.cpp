#include "launch.h"

#include <utility>

#include "../include/builtins.h"
#include "fault.h"
#include "memory.h"
#include "scheduler.h"
#include "shared_window.h"

dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulated {

namespace {

// __syncthreads is one for all lanes of a warp, not one in each branch. The compiler may have made
// several calls of it, so lines are compared.
void check_same_line(Block& block, const Barrier& barrier) {
    auto& [ticket, site] = block.warp_sites[current->number / 32];
    if (!barrier.has_come(ticket)) {
        ticket = barrier.now(), site = current->site;
    } else if (site != current->site && position(site) != position(current->site)) {
        fault("lanes of one warp at two __syncthreads, the other at " + position(site));
    }
}

}  // namespace

void set_builtins(const Thread& thread) {
    threadIdx = thread.index;
    blockIdx = thread.block->index;
    blockDim = grid->launch.block;
    gridDim = grid->launch.grid;
}

void* dynamic_shared() {
    Block& block = *current->block;
    return block.shared + block.given_at();
}

void sync_all() {
    ENTER;
    busy();
    Block& block = *current->block;
    Barrier& barrier = block.barriers[0];
    check_same_line(block, barrier);
    barrier.wait(barrier.arrive(block.alive));
}

void sync_part(unsigned barrier, unsigned threads, bool wait) {
    ENTER;
    busy();
    if (barrier < 1 || barrier > 15)
        fault("a block's barriers are 1 to 15 and that of all, not " + std::to_string(barrier));
    if (!threads || threads % 32)
        fault("a barrier of " + std::to_string(threads) + " threads, which are not whole warps");
    Barrier& b = current->block->barriers[barrier];
    const Barrier::Ticket ticket = b.arrive_by_warp(threads);
    if (wait)
        b.wait(ticket);
    else
        yield();
}

void sync_warp(uint32_t mask) {
    ENTER;
    meet("__syncwarp", mask, nullptr, nullptr, nullptr, Meet::ordering_lanes);
}

void cluster_arrive(bool release) {
    ENTER;
    busy();
    if (current->cluster_barrier) fault("a second arrival at the cluster's barrier, with no wait");
    Cluster& cluster = *current->block->cluster;
    current->cluster_barrier = cluster.barrier.arrive(cluster.alive(), release);
    yield();
}

void cluster_wait() {
    ENTER;
    busy();
    if (!current->cluster_barrier) fault("a wait at the cluster's barrier before the arrival");
    current->block->cluster->barrier.wait(std::exchange(current->cluster_barrier, nullptr));
}

void sync_grid() {
    ENTER;
    busy();
    if (!grid->launch.cooperative)
        fault("a barrier of the grid in a launch that is not cooperative");
    // Threads that have exited are waited for in vain.
    Gang& gang = *current->block->gang;
    gang.barrier.wait(gang.barrier.arrive(grid->threads * unsigned(gang.blocks.size())));
}

int lane() { return int(current->lane()); }
int segment_start(int width) {
    ENTER;
    if (width < 1 || width > 32 || width & (width - 1))
        fault("a shuffle in segments of " + std::to_string(width) +
              " lanes, no power of two to 32");
    return lane() / width * width;
}
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
