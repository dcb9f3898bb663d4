#include "grid.h"

#include <cstdlib>
#include <new>

#include "mbarrier.h"
#include "memory.h"
#include "program.h"
#include "shared_window.h"
#include "sharing.h"

namespace emulated {
namespace {

std::string text(const char* what, dim3 i) {
    return std::string(what) + " (" + std::to_string(i.x) + "," + std::to_string(i.y) + "," +
           std::to_string(i.z) + ")";
}

// What cudaMalloc, bulk copies and the widest swizzles ask for.
constexpr size_t alignment = 1024;

}  // namespace

std::string Thread::name() const { return text("thread", index) + " of " + block->name(); }
std::string Block::name() const { return text("block", index); }

Block::Block(Grid& grid, Gang& gang, Cluster& cluster, dim3 index, unsigned linear)
    : index(index),
      rank(unsigned(cluster.blocks.size())),
      cluster(&cluster),
      gang(&gang),
      first_agent(linear * grid.agents()),
      threads(grid.threads),
      alive(grid.threads),
      warp_bias((grid.threads + 31) / 32),
      static_bytes(grid.static_bytes),
      bytes(given_at() + grid.launch.shared_bytes),
      warps(warp_bias.size()) {
    warp_sites.resize(warps.size());
    cluster.blocks.push_back(this);
    // Of just this size, so that AddressSanitizer sees its end; filled with NaN.
    void* memory = nullptr;
    if (posix_memalign(&memory, alignment, bytes ? bytes : 1)) throw std::bad_alloc();
    shared = static_cast<char*>(memory);
    std::memset(shared, 0xff, bytes);
    add_shared(*this);
    const dim3 size = grid.launch.block;
    for (unsigned i = 0; i < grid.threads; i++) {
        Thread& t = threads[i];
        t.index = dim3(i % size.x, i / size.x % size.y, i / size.x / size.y);
        t.block = this;
        t.number = i;
        t.agent = first_agent + thread_agents * i;
    }
}

Block::~Block() {
    for (Thread& t : threads) delete t.fibre;  // of a launch that was given up
    if (grid->in_window == this) enter_host();
    const auto begin = uintptr_t(shared), end = begin + bytes;
    forget_mbarriers(begin, end);
    forget_published(begin, end);
    remove_shared(*this);
    std::free(shared);
}

uint32_t Block::lanes(unsigned warp) const {
    uint32_t lanes = 0;
    for (unsigned i = warp * 32; i < threads.size() && i < warp * 32 + 32; i++)
        lanes |= uint32_t(!threads[i].exited) << i % 32;
    return lanes;
}

unsigned Cluster::alive() const {
    unsigned n = 0;
    for (const Block* block : blocks) n += block->alive;
    return n;
}
unsigned Gang::alive() const {
    unsigned n = 0;
    for (const auto& block : blocks) n += block->alive;
    return n;
}

Grid::Grid(const Launch& launch)
    : launch(launch), threads(launch.block.x * launch.block.y * launch.block.z) {
    const Program program = program_of(launch.kernel);
    static_window = program.locals;
    static_bytes = program.locals_bytes;
    host_window.resize(static_bytes);
    grid = this;
}

Grid::~Grid() {
    enter_host();
    grid = nullptr;
}

std::string Grid::agent_name(uint32_t agent) const {
    const uint32_t block = agent / agents(), within = agent % agents();
    const dim3 g = launch.grid, b = launch.block;
    const std::string of =
        " of " + text("block", dim3(block % g.x, block / g.x % g.y, block / g.x / g.y));
    if (within >= threads * thread_agents) return "a copy that completes on an mbarrier" + of;
    const uint32_t i = within / thread_agents;
    static constexpr const char* kind[] = {"", "a copy by ", "a bulk copy by ", "a bulk copy by "};
    return kind[within % thread_agents] +
           text("thread", dim3(i % b.x, i / b.x % b.y, i / b.x / b.y)) + of;
}

}  // namespace emulated
