// A whole sequence in one launch: all steps, both directions, the weights on the chip.
//
// Sizes: N rows of the sequence, T steps, D directions (1 or 2), B rows of a state, H hidden units,
// G gates, K saved values. S is the storage type, fp32 is computed in.
#pragma once

#include "../../cell.h"
#include "../../dtype.h"
#include "../launch.h"
#include "../plan/plan.h"
#include "../sizes.h"

namespace rnn::cuda {

// Where the rows of a sequence lie.
struct Sequence {
    int64_t T, B;
    // Of packed rows, (T + 1): first row of each step, and N; then (T + 2): how many rows each step
    // has, between two zeros. Null: B rows each.
    const int64_t* table;
    const uint8_t* resets;  // (N), or null
};

struct RecurrenceForward {
    Sizes sizes;
    Layout layout;
    Sequence sequence;
    bool exact;        // float32 is not rounded to TF32
    bool aligned;      // weights may be read 16 bytes at a time
    const void* gx;    // (N, D, G, H) S: input half of the gates
    const void* w;     // (D, G, H, H) S: recurrent weights
    const void* b_hh;  // (D, G, H) S, or null
    const void* h0;    // (D, B, H) S
    const void* c0;    // (D, B, H) S, or null
    void* h_n;         // (D, B, H) S: out
    void* c_n;         // (D, B, H) S: out, or null
    void* y;           // (N, D, H) S: out
    void* c_all;       // (N, D, H) float: out, or null
    void* saved;       // (N, D, K, H) S: out, may be gx; or null
    void* mail;        // (N, D, mail_units) S: out, a grid's; may be y
};

struct RecurrenceBackward {
    Sizes sizes;
    Layout layout;
    Sequence sequence;
    bool exact;          // float32 is not rounded to TF32
    bool aligned;        // weights may be read 16 bytes at a time
    const void* w;       // (D, H, G, H) S: recurrent weights, transposed
    const void* saved;   // (N, D, K, H) S
    const void* c_all;   // (N, D, H) float, or null
    const void* h0;      // (D, B, H) S
    const void* c0;      // (D, B, H) S, or null
    const void* y;       // (N, D, H) S
    const void* dy;      // (N, D, H) S, or null
    const void* dc_all;  // (N, D, H) float, or null
    const void* dh_n;    // (D, B, H) S, or null
    const void* dc_n;    // (D, B, H) S, or null
    void* dgx;           // (N, D, G, H) S: out
    void* dgh_last;      // (N, D, H) S: out, of the last gate, cells that split; or null
    void* h_before;      // (N, D, H) S: out, hidden states before the step; or null
    void* dh0;           // (D, B, H) S: out
    void* dc0;           // (D, B, H) S: out, or null
    void* mail;          // (N, D, G, mail_units) S: out, a grid's; may be dgx
    void* mail_last;     // dgh_last, which then is the last gate's; or null
};

// The blocks of a group of rows.
enum class Team { alone, cluster, grid };

// Instantiated for each cell and kind of team in a file of its own; that for clusters is compiled
// for GPUs that have them. They throw std::runtime_error if CUDA refuses the launch, and do not
// wait for it. The mail of a grid has to be filled with ones, in all bits.
template <Cell C, Team team>
void launch_recurrence(const RecurrenceForward& p, Dtype storage, const Place& place);
template <Cell C, Team team>
void launch_recurrence(const RecurrenceBackward& p, Dtype storage, const Place& place);

}  // namespace rnn::cuda
