// Python's view of the CPU backend: sizes as integers, arrays as tensors by the names of the call's
// fields.
#include <pybind11/pybind11.h>

#include <string>
#include <tuple>

#include "arguments/fields.h"
#include "arguments/tensors.h"
#include "cpu/cpu.h"
#include "cpu/pages.h"
#include "stream.h"
#include "with_cell.h"

namespace py = pybind11;
using namespace rnn;
using namespace rnn::cpu;

namespace {

using Sizes = std::tuple<int64_t, int64_t, int64_t, int64_t>;  // T, B, D, H

Sequence sequence(const Sizes& sizes) {
    const auto [T, B, D, H] = sizes;
    return {T, B, D, H, nullptr, nullptr};
}

void read(Fields& fields, Sequence& call) {
    RNN_FIELD(batch_sizes);
    RNN_FIELD(resets);
}

void read(Fields& fields, Forward& call) {
    read(fields, call.seq);
    RNN_FIELD(gx);
    RNN_FIELD(I);
    RNN_FIELD(x);
    RNN_FIELD(x_step);
    RNN_FIELD(x_row);
    RNN_FIELD(w_ih);
    RNN_FIELD(b_ih);
    RNN_FIELD(w_hh);
    RNN_FIELD(b_hh);
    RNN_FIELD(h0);
    RNN_FIELD(c0);
    RNN_FIELD(y);
    RNN_FIELD(h_n);
    RNN_FIELD(c_n);
    RNN_FIELD(c);
    RNN_FIELD(saved);
}

void read(Fields& fields, Backward& call) {
    read(fields, call.seq);
    RNN_FIELD(w_hh);
    RNN_FIELD(h0);
    RNN_FIELD(c0);
    RNN_FIELD(y);
    RNN_FIELD(c);
    RNN_FIELD(saved);
    RNN_FIELD(dy);
    RNN_FIELD(dh_n);
    RNN_FIELD(dc_n);
    RNN_FIELD(dc);
    RNN_FIELD(dgx);
    RNN_FIELD(dgh);
    RNN_FIELD(dh0);
    RNN_FIELD(dc0);
    RNN_FIELD(dw_hh);
    RNN_FIELD(db_hh);
}

void read(Fields& fields, Step& call) {
    RNN_FIELD(B);
    RNN_FIELD(I);
    RNN_FIELD(H);
    RNN_FIELD(x);
    RNN_FIELD(x_row);
    RNN_FIELD(w_ih);
    RNN_FIELD(b_ih);
    RNN_FIELD(w_hh);
    RNN_FIELD(b_hh);
    RNN_FIELD(h0);
    RNN_FIELD(c0);
    RNN_FIELD(h);
    RNN_FIELD(c);
    RNN_FIELD(y);
    RNN_FIELD(c_all);
    RNN_FIELD(saved);
}

void read(Fields& fields, GatesForward& call) {
    RNN_FIELD(rows);
    RNN_FIELD(H);
    RNN_FIELD(gx);
    RNN_FIELD(gh);
    RNN_FIELD(state);
    RNN_FIELD(h);
    RNN_FIELD(c);
    RNN_FIELD(c_all);
    RNN_FIELD(saved);
}

void read(Fields& fields, GatesBackward& call) {
    RNN_FIELD(rows);
    RNN_FIELD(H);
    RNN_FIELD(dh);
    RNN_FIELD(dc);
    RNN_FIELD(state);
    RNN_FIELD(c_all);
    RNN_FIELD(saved);
    RNN_FIELD(dgx);
    RNN_FIELD(dgh);
    RNN_FIELD(dstate);
}

// What is common to all calls: the rest of one comes by the names of its fields.
struct How {
    const std::string &cell, &dtype;
    int threads;
};

template <class Call>
void run(Kernel<Call> Kernels::* kernel, const How& how, Call call, const py::dict& arrays) {
    Fields fields(arrays.ptr());
    read(fields, call);
    if (!fields.complete()) throw py::error_already_set();
    const Dtype dtype = dtype_named(how.dtype.c_str());
    py::gil_scoped_release released;
    (kernels(dtype).*kernel)(call, how.cell.c_str(), dtype, how.threads);
}

void forward(const std::string& cell, const std::string& dtype, int threads, const Sizes& sizes,
             const py::dict& arrays) {
    run(&Kernels::forward, {cell, dtype, threads}, {.seq = sequence(sizes)}, arrays);
}

void backward(const std::string& cell, const std::string& dtype, int threads, const Sizes& sizes,
              const py::dict& arrays) {
    run(&Kernels::backward, {cell, dtype, threads}, {.seq = sequence(sizes)}, arrays);
}

// Calls whose sizes are fields as well.
template <class Call, Kernel<Call> Kernels::* kernel>
void sized(const std::string& cell, const std::string& dtype, int threads, const py::dict& arrays) {
    run(kernel, {cell, dtype, threads}, Call{}, arrays);
}

py::dict plan(const std::string& cell, const std::string& dtype, int threads, const Sizes& sizes,
              int64_t I, bool packed) {
    Sequence seq = sequence(sizes);
    const int64_t some = 0;
    if (packed) seq.batch_sizes = &some;  // the plan asks only whether there are any
    const Dtype of = dtype_named(dtype.c_str());
    const Plan p = kernels(of).plan(seq, I, cell.c_str(), of, threads);
    py::dict d;
    d["row_groups"] = p.row_groups;
    d["unit_groups"] = p.unit_groups;
    d["pack"] = p.pack;
    d["chunk"] = p.chunk;
    return d;
}

}  // namespace

PYBIND11_MODULE(_core, m) {
    m.doc() = "Compiled CPU kernels. Checks nothing: rnn_kernels does.";
    m.def("isa", [] { return kernels().isa; }, "Instruction set in use.");
    m.def("vector_bytes", [] { return kernels().vector_bytes; });
    m.attr("compiler") = RNN_COMPILER;
    m.attr("cells") = []<Cell... C>(Cells<C...>) { return py::make_tuple(C::name...); }(AllCells());
    m.def("forward", &forward);
    m.def("backward", &backward);
    m.def("step", &sized<Step, &Kernels::step>);
    m.def("gates_forward", &sized<GatesForward, &Kernels::gates_forward>);
    m.def("gates_backward", &sized<GatesBackward, &Kernels::gates_backward>);
    m.def("plan", &plan);
    m.def("prefer_large_pages", [](std::uintptr_t data, std::size_t bytes) {
        prefer_large_pages(reinterpret_cast<void*>(data), bytes);
    });
    m.attr("large") = large;
    add_tensors(m.ptr());
    add_stream(m.ptr());
}
