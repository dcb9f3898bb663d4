// All kernels, compiled once for each instruction set: RNN_ISA names it, RNN_VECTOR_BYTES is the
// size of its registers. RNN_BF16_ONLY: it has nothing new for other dtypes than bfloat16.
#include "../with_cell.h"
#include "backward.h"
#include "forward.h"
#include "gates.h"
#include "step.h"

namespace rnn::cpu::RNN_ISA {
namespace {

template <class F>
void with_storage(Dtype dtype, F&& run) {
    switch (dtype) {
#ifndef RNN_BF16_ONLY
        case Dtype::fp32: return run.template operator()<float>();
        case Dtype::fp64: return run.template operator()<double>();
        case Dtype::fp16: return run.template operator()<fp16>();
#endif
        case Dtype::bf16: return run.template operator()<bf16>();
        default: break;  // kernels(dtype) leads nobody here
    }
}

// Calls run.template operator()<C, S>() with the cell and the storage type.
template <class F>
void with_kernel(const char* cell, Dtype dtype, F&& run) {
    with_cell(cell, [&]<Cell C>() {
        with_storage(dtype, [&]<class S>() { run.template operator()<C, S>(); });
    });
}

void forward(const Forward& call, const char* cell, Dtype dtype, int threads) {
    with_kernel(cell, dtype, [&]<Cell C, class S>() { ForwardPass<C, S>(call, threads).run(); });
}

void backward(const Backward& call, const char* cell, Dtype dtype, int threads) {
    with_kernel(cell, dtype, [&]<Cell C, class S>() { BackwardPass<C, S>(call, threads).run(); });
}

void step(const Step& call, const char* cell, Dtype dtype, int threads) {
    with_kernel(cell, dtype, [&]<Cell C, class S>() { StepPass<C, S>(call).run(threads); });
}

void forward_gates(const GatesForward& call, const char* cell, Dtype dtype, int threads) {
    with_kernel(cell, dtype, [&]<Cell C, class S>() { gates_forward<C, S>(call, threads); });
}

void backward_gates(const GatesBackward& call, const char* cell, Dtype dtype, int threads) {
    with_kernel(cell, dtype, [&]<Cell C, class S>() { gates_backward<C, S>(call, threads); });
}

Plan plan(const Sequence& seq, int64_t I, const char* cell, Dtype dtype, int threads) {
    Plan chosen{};
    with_kernel(cell, dtype, [&]<Cell C, class S>() {
        using A = compute_t<S>;
        chosen = make_plan(seq, I, C::gates, Vec<A>::size, sizeof(A), threads);
    });
    return chosen;
}

}  // namespace

#define RNN_TEXT(x) RNN_TEXT_OF(x)
#define RNN_TEXT_OF(x) #x

extern const Kernels kernels;
const Kernels kernels{RNN_TEXT(RNN_ISA), RNN_VECTOR_BYTES, forward, backward, step,
                      forward_gates,     backward_gates,   plan};

}  // namespace rnn::cpu::RNN_ISA
