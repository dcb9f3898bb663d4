// How the whole-sequence kernels cut a recurrence: pure functions of sizes and of a GPU's facts.
//
// A group of rows belongs to a team of blocks: one alone, a cluster, or blocks of a grid that runs
// as a whole and talks through global memory. Each block owns a range of hidden units, and keeps
// the weights that it needs on the chip for all steps:
//
//   forward         the gates of its units, (G·units, all units)
//   backward        what its units' gates pass on, (all units, G·units), transposed
//   backward, grid  what all gates pass on to its units, (units, G·all units), transposed
//
// That matrix is cut into strips of 32 rows and chunks of 64 bytes along them. A strip's chunk is a
// fragment: four registers of 16 bytes in each of a warp's lanes. The fragments, strip by strip,
// are dealt out evenly to the block's warps; a strip that several warps share has several partial
// sums, each in a slot of its own.
//
// In a grid a fragment is of 16 rows and 128 bytes, and a warp has whole columns of them.
#pragma once

#include <cstdint>
#include <string>

#include "../../cell.h"

namespace rnn::cuda {

constexpr int recurrence_warps = 8, recurrence_threads = 32 * recurrence_warps;
constexpr int strip_rows = 32, chunk_bytes = 64, fragment_bytes = strip_rows * chunk_bytes;
constexpr int spread_strip_rows = 16, spread_chunk_bytes = 128;
// Elements of the state that a thread may have, and with that many the fragments that a warp keeps
// in registers: as many as the compiler places without spilling.
constexpr int few_elements = 1, many_elements = 4;
RNN_HD constexpr int held_fragments(int elements, bool backward, bool grid, bool exact, int gates) {
    const int held = elements == few_elements ? (backward ? 8 : 9) : backward ? 4 : 6;
    if (!grid) return held;
    if (elements == few_elements && !backward) return held - (exact && gates == 1 ? 3 : 2);
    return held - (exact ? 3 : 2);
}
constexpr int largest_cluster = 16;
constexpr int most_elements = many_elements * recurrence_threads;  // of a block

struct Problem {
    int gates;
    int element;  // bytes of the storage type
    bool backward;
    int64_t B, H;
    int D;
    bool exact;  // float32 is not rounded to TF32
};

// Of a GPU.
struct Facts {
    int capability;     // 10 · major + minor
    int shared_memory;  // bytes that one block may have
    int clusters[5];    // of 1, 2, 4, 8 and 16 blocks: how many run at once, 0 if none
    int grid;           // blocks of a grid that may wait for each other, 0 if none may
};

// What a step takes on an H100, none of it measured yet: from the instructions' throughput and from
// what others report. ptxas places what a step is made of, so shares that overlap count once.
struct Speeds {
    double clock_ghz = 1.7;
    // In clock cycles:
    double fragment = 25.6;     // 4 mma at 63 % of the tensor peak, per sub-core
    double exact_fragment = 4;  // times as long: three products, and splitting factors
    double cell = 250;          // latency of sums, cell and stores
    double element = 0.9;       // 100 instructions of 128 lanes each
    double barrier = 40;
    double exchange = 400;  // stage, st.async, mbarrier, and what skew adds
    double mail = 900;      // a store to L2, a load from it, and skew
    // In bytes per clock cycle:
    double shared_bytes = 128;
    double peer_bytes = 12;  // into one block, all peers sending
    double mail_bytes = 24;  // from L2 into one block, all blocks reading
};

// A way to cut.
struct Cut {
    bool grid;   // the team is no cluster
    int blocks;  // of a team
    int rows;    // of a group
};

// One block's share, and what lies where in its shared memory. Sizes in bytes unless they say else.
struct Layout {
    bool grid;
    int cluster;   // blocks of a team
    int units;     // of one block, a multiple of units_at_once
    int rows;      // of one team
    int tiles;     // of 8 rows
    int pairs;     // of rows
    int elements;  // of the state, per thread: few or many
    int strips, chunks;
    int per_warp;       // fragments
    int held;           // of them, in registers
    int slots;          // partial sums of a strip, at most
    int mail_units;     // of a row of the mail, for each gate; grid
    int operand_pitch;  // of a row
    int operand_size;   // of one of two buffers, with which the memory begins
    int sums_pitch;     // of a pair of rows, in pairs of floats
    int sums_size;      // of one buffer; the backward has two
    int sums, bias, stage, weights, barriers;  // offsets
    int shared;                                // in all
};

// Units that are sent in one piece.
int units_at_once(const Problem& problem, bool grid);

// Throws std::invalid_argument where a block has too few threads.
Layout layout(const Problem& problem, const Cut& cut);

struct Plan {
    bool fits = false;
    std::string why;  // it does not
    bool exact = false;
    Layout layout = {};
    int64_t groups = 0;  // of rows
    int64_t waves = 0;   // of teams that run at once
    double step_ns = 0;  // predicted, all waves
};

// Throws std::invalid_argument where a block has too few threads for it.
Plan cut_by(const Problem& problem, const Facts& facts, const Cut& cut, const Speeds& speeds = {});

// The fastest that is predicted, if it is faster than a step by itself: a product and a kernel,
// which take `per_step_ns`.
Plan plan(const Problem& problem, const Facts& facts, double per_step_ns);

}  // namespace rnn::cuda
