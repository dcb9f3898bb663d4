// One step of the per-step path: the gates of all rows and units, both directions, after the
// product W_hh·h and before the next one.
//
// Sizes: N rows of the sequence, D directions (1 or 2), B rows of a state, H hidden units, G gates,
// K saved values. S is the storage type, A the type computed in, P that of the product: A or S.
#pragma once

#include <cstdint>

#include "../../cell.h"
#include "../../dtype.h"
#include "../launch.h"
#include "../sizes.h"

namespace rnn::cuda {

// Where one direction stands: which rows it computes, and where their states come from and go to.
// rnn_kernels/backends/gpu/step_table.py makes a table of them.
struct Step {
    int64_t first;    // of this step's rows, among N
    int64_t rows;     // of this step, at most B
    int64_t before;   // first row of the step that states come from
    int64_t arrive;   // rows that come from there; the others start from h0
    int64_t leave;    // rows that go on to another step; the others end here
    int64_t cut_in;   // first of the reset flags between the step before and this one
    int64_t cuts_in;  // rows that they apply to
    int64_t cut_out;  // first of the reset flags of the rows that leave
};

struct GatesForward {
    Sizes sizes;
    const void* gx;         // (N, D, G, H) S: input half of the gates
    const void* gh;         // (D, B, G, H) P: W_hh·h
    const void* b_hh;       // (D, G, H) S, or null
    const void* h;          // (D, B, H) S: hidden states before the step
    const void* c0;         // (D, B, H) S: cell states before the step, or null if c has them
    void* c;                // (D, B, H) A: cell states, replaced by those that go on; or null
    void* h_n;              // (D, B, H) S: out, hidden states that go on; may be h; or null
    void* c_n;              // (D, B, H) S: out, cell states that go on; or null
    void* y;                // (N, D, H) S: out, all hidden states
    void* c_all;            // (N, D, H) A: out, all cell states; or null
    void* saved;            // (N, D, K, H) S: out, what the backward needs; may be gx; or null
    const uint8_t* resets;  // (N), or null
    Step steps[2];
};

struct GatesBackward {
    Sizes sizes;
    const void* saved;      // (N, D, K, H) S
    const void* c_all;      // (N, D, H) A
    const void* h0;         // (D, B, H) S: initial states
    const void* c0;         // (D, B, H) S
    const void* y;          // (N, D, H) S
    const void* dy;         // (N, D, H) S, or null
    const void* dc_all;     // (N, D, H) A, or null
    const void* dh_n;       // (D, B, H) S, or null
    const void* dc_n;       // (D, B, H) S, or null
    const void* dh;         // (D, B, H) A: W_hhᵀ·dgh of the step that states left for
    void* direct;           // (D, B, H) A: the share of dh that passes by W_hh; cells that mix
    void* dc;               // (D, B, H) A: replaced by the gradient of the cell states before
    void* dgx;              // (N, D, G, H) S: out
    void* dgh;              // (D, B, G, H) S: out, for the product; or null
    void* dgh_last;         // (N, D, H) S: out, of the last gate, cells that split; or null
    void* h_before;         // (N, D, H) S: out, hidden states before the step; or null
    void* dh0;              // (D, B, H) S: out, in place of direct, cells without c; or null
    void* dc0;              // (D, B, H) S: out, in place of dc; or null
    const uint8_t* resets;  // (N), or null
    Step steps[2];
};

// Instantiated for each cell in a file of its own. Both throw std::runtime_error if CUDA refuses
// the launch; neither waits for it.
template <Cell C>
void launch_forward(const GatesForward& p, Dtype storage, Dtype product, const Place& place);
template <Cell C>
void launch_backward(const GatesBackward& p, Dtype storage, const Place& place);

}  // namespace rnn::cuda
