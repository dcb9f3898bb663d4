// The CPU backend's interface: plain sizes and pointers in, no torch, no Python.
//
// Sizes: T time, B batch, H hidden, D directions, G gates, K saved values per unit, N rows in all
// (T·B, or the sum of batch_sizes). S is the storage type, A the type computed in (double for
// fp64, float for the others). Every array is contiguous, but for the rows of x.
#pragma once

#include <cstdint>

#include "../dtype.h"

namespace rnn::cpu {

// Both directions run side by side; the second one takes the steps from the last to the first.
struct Sequence {
    int64_t T, B, D, H;
    const int64_t* batch_sizes;  // (T) not increasing, at most B, or null: B rows in every step
    const uint8_t* resets;  // (N) or null: true cuts the state between a step and the one before
};

// The input half of the gates is given, or computed here from the input: then gx is null.
struct Forward {
    Sequence seq;
    const void* gx;         // (N, D, G·H) S  input half of the gates, biases folded in
    int64_t I;              // input features
    const void* x;          // rows of I values S, which lie together
    int64_t x_step, x_row;  // values from a step to the next and from a row to the next; packed
                            // rows follow each other, whatever their step
    const void* w_ih[2];    // of each direction (G·H, I) S
    const void* b_ih[2];    // (G·H) S        or null
    const void* w_hh[2];    // (G·H, H) S
    const void* b_hh[2];    // (G·H) S        added to W_hh·h, or null
    const void* h0;         // (D, B, H) S
    const void* c0;         // (D, B, H) S      cells with c only, as are c_n and c
    void* y;                // (N, D·H) S
    void* h_n;              // (D, B, H) S
    void* c_n;              // (D, B, H) S
    void* c;                // (N, D, H) A      every cell state, or null
    void* saved;            // (N, D, K, H) A   what the backward needs, or null
};

struct Backward {
    Sequence seq;
    const void* w_hh;   // (D, G·H, H) S
    const void* h0;     // (D, B, H) S
    const void* c0;     // (D, B, H) S
    const void* y;      // (N, D·H) S
    const void* c;      // (N, D, H) A     as the forward left it, as is saved
    const void* saved;  // (N, D, K, H) A
    const void* dy;     // (N, D·H) S      or null: zero, as are dh_n, dc_n and dc
    const void* dh_n;   // (D, B, H) S
    const void* dc_n;   // (D, B, H) S
    const void* dc;     // (N, D, H) A
    void* dgx;          // (N, D, G·H) S
    void* dgh;          // (N, D, H) S     gradient of the last gate's recurrent half, cells that
                        //                 split it only
    void* dh0;          // (D, B, H) S
    void* dc0;          // (D, B, H) S
    void* dw_hh;        // (D, G·H, H) S   or null: not wanted, as is db_hh
    void* db_hh;        // (D, G·H) S
};

// One step of one direction, without a sequence around it.
struct Step {
    int64_t B, I, H;
    const void* x;     // rows of I values S, which lie together
    int64_t x_row;     // values from a row to the next
    const void* w_ih;  // (G·H, I) S
    const void* b_ih;  // (G·H) S       or null, as is b_hh
    const void* w_hh;  // (G·H, H) S
    const void* b_hh;  // (G·H) S
    const void* h0;    // (B, H) S
    const void* c0;    // (B, H) S      cells with c only, as are c and c_all
    void* h;           // (B, H) S
    void* c;           // (B, H) S
    void* y;           // (B, H) S      h once more, or null
    void* c_all;       // (B, H) A      the same c, unrounded, or null
    void* saved;       // (B, K, H) A   what the backward needs, or null
};

// The gates alone, without a product. The state is h, or c for cells with c.
struct GatesForward {
    int64_t rows, H;
    const void* gx;     // (rows, G·H) S  input half of the gates
    const void* gh;     // (rows, G·H) S  recurrent half
    const void* state;  // (rows, H) S    before the step
    void* h;            // (rows, H) S
    void* c;            // (rows, H) S    cells with c only, as is c_all
    void* c_all;        // (rows, H) A    the same c, unrounded, or null
    void* saved;        // (rows, K, H) A what the backward needs, or null
};

struct GatesBackward {
    int64_t rows, H;
    const void* dh;     // (rows, H) S    or null: zero, as is dc
    const void* dc;     // (rows, H) S
    const void* state;  // (rows, H) S    before the step
    const void* c_all;  // (rows, H) A    as the forward left it, as is saved
    const void* saved;  // (rows, K, H) A
    void* dgx;          // (rows, G·H) S
    void* dgh;          // (rows, G·H) S  or null: not wanted
    void* dstate;       // (rows, H) S
};

// Threads of one row group share their rows' state and meet once per step, unless each has a
// direction of its own; row groups never meet.
struct Plan {
    int row_groups, unit_groups;
    bool pack;      // weights repacked for the call, or read as the model stores them
    int64_t chunk;  // steps whose inputs are multiplied at once
};

// Throws std::invalid_argument where there is no such cell.
template <class Call>
using Kernel = void (*)(const Call&, const char* cell, Dtype, int threads);

// One build of the kernels for one instruction set.
struct Kernels {
    const char* isa;
    int vector_bytes;
    Kernel<Forward> forward;
    Kernel<Backward> backward;
    Kernel<Step> step;
    Kernel<GatesForward> gates_forward;
    Kernel<GatesBackward> gates_backward;
    Plan (*plan)(const Sequence&, int64_t I, const char* cell, Dtype, int threads);
};

// The best build that this processor runs, or the one that RNN_KERNELS_CPU_ISA names.
// Throws std::runtime_error when it names one that is not there.
const Kernels& kernels();

// Its kernels for a dtype.
const Kernels& kernels(Dtype dtype);

}  // namespace rnn::cpu
