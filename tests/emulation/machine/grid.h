// A launch while it runs: its threads, warps, blocks and clusters.
#pragma once

#include <array>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "../include/dim3.h"
#include "barrier.h"
#include "clock.h"
#include "fibre.h"
#include "meeting.h"

namespace emulated {

struct Block;
struct Cluster;
struct Gang;
struct Grid;

// Says what a thread waits for, given the key it waits on.
using Describe = std::string (*)(const void* key);

struct Thread {
    dim3 index;
    Block* block;
    unsigned number;  // in its block; 32 neighbours are a warp
    uint32_t agent;   // the copies it starts are agents of their own, see Block

    // Where it stands.
    Fibre* fibre = nullptr;
    const void* site = nullptr;  // of the last call into the machine
    const void* key = nullptr;   // what it waits on, or null
    Describe describe = nullptr;
    bool patient = true;  // or it also goes on when time passes
    bool exited = false;
    uint64_t priority = 0;

    // What it knows.
    Knowledge known;
    uint32_t time = 1;
    std::array<uint32_t, thread_agents - 1> waited = {};  // groups of its copies, see Copies
    Knowledge released;  // by its last fence, for relaxed operations after it
    Knowledge noticed;   // by relaxed loads, for the next fence
    Seen inits;          // mbarriers that it initialised

    // Its loads of addresses that others may write, if it has done nothing since: one more like one
    // of them is a wait.
    struct Load {
        const void *address, *site;
        uint64_t value;
        bool operator==(const Load&) const = default;
    };
    std::vector<Load> loads;

    bool idle = false;      // since time passed for it
    uint32_t polls = 0;     // loads since it did anything else
    uint64_t accesses = 0;  // plain ones since others could go on

    // Groups of copies that it has committed, and the last one that has any: with cp.async, and of
    // bulk copies.
    uint32_t groups = 0, bulk_groups = 0, last_bulk_group = 0;

    Barrier::Ticket cluster_barrier;  // where it has arrived and not yet waited

    unsigned lane() const { return number % 32; }
    std::string name() const;
    void learn(const Knowledge& more) { known = join(known, more); }
    Own own() const { return {agent, {time, waited[0], waited[1], waited[2]}}; }
    // What others learn from it; what it does from now on is not part of that.
    Knowledge tell() {
        Knowledge mine = known;
        mine.seen = with(known.seen, own());
        time++;
        return mine;
    }
};

struct Block {
    dim3 index;
    unsigned rank;  // in its cluster
    Cluster* cluster;
    Gang* gang;
    uint32_t first_agent;
    std::vector<Thread> threads;
    unsigned alive;  // threads that have not exited
    uint64_t bias = 0;
    std::vector<uint64_t> warp_bias;

    char* shared;  // static variables first, then dynamic memory
    size_t static_bytes, bytes;
    Barrier barriers[16];
    // Where each warp's first lane came to the barrier of all, and when.
    std::vector<std::pair<Barrier::Ticket, const void*>> warp_sites;
    // Peers and copies that used its memory, and where each did last.
    Clock readers, writers;
    std::map<uint32_t, const void*> visits;
    Gathering known_at_exit;
    std::vector<Meetings> warps;
    uint32_t mbarriers = 0;

    Block(Grid& grid, Gang& gang, Cluster& cluster, dim3 index, unsigned linear);
    Block(const Block&) = delete;
    ~Block();
    bool exited() const { return !alive; }
    // Where dynamic memory begins.
    size_t given_at() const { return (static_bytes + 15) / 16 * 16; }
    std::string name() const;
    // Threads of a warp that exist and have not exited.
    uint32_t lanes(unsigned warp) const;
};

struct Cluster {
    std::vector<Block*> blocks;  // by rank
    Barrier barrier;
    unsigned alive() const;  // threads
};

// Blocks that run side by side: a cluster, or the whole of a cooperative grid.
struct Gang {
    struct Place {
        dim3 index;
        unsigned linear, cluster;
    };
    std::vector<Place> places;
    std::vector<std::unique_ptr<Block>> blocks;  // made when it starts
    std::map<unsigned, Cluster> clusters;
    Barrier barrier;
    unsigned alive() const;  // threads
};

struct Launch {
    dim3 grid, block, cluster;
    size_t shared_bytes;
    bool cooperative;
    const void* kernel;
    const void* call;  // the kernel's arguments, as `enter` wants them
    size_t call_bytes;
    void (*enter)(const void* call);
};

// A block's agents: its threads, the cp.async groups, bulk reads and bulk writes of each, and the
// copies that complete on each mbarrier and who initialised it.
constexpr uint32_t block_mbarriers = 128, mbarrier_agents = 2;

struct Grid {
    const Launch& launch;
    unsigned threads;     // of a block
    size_t static_bytes;  // shared variables of the kernel's module
    char* static_window;  // where the kernel sees those of its block
    Block* in_window = nullptr;
    std::vector<char> host_window;

    explicit Grid(const Launch& launch);
    Grid(const Grid&) = delete;
    ~Grid();
    uint32_t agents() const { return threads * thread_agents + block_mbarriers * mbarrier_agents; }
    std::string agent_name(uint32_t agent) const;
};

// The launch that runs, and its thread that runs; null between launches and on the host.
extern Grid* grid;
extern Thread* current;

// First in every function that kernels call: where they do.
#define ENTER (::emulated::current->site = __builtin_return_address(0))

}  // namespace emulated
