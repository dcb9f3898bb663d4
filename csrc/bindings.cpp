// Python's view of the CPU backend: sizes as integers, arrays as addresses (0: absent).
#include <pybind11/pybind11.h>

#include <stdexcept>
#include <string>

#include "cpu/cpu.h"
#include "cpu/pages.h"
#include "tensors.h"

namespace py = pybind11;
using namespace rnn::cpu;

namespace {

using Address = std::uintptr_t;

template <class T = const void>
T* at(Address address) {
    return reinterpret_cast<T*>(address);
}

CellName cell_named(const std::string& name) {
    if (name == "lstm") return CellName::lstm;
    if (name == "gru") return CellName::gru;
    throw std::invalid_argument("unknown cell: " + name);
}

Dtype dtype_named(const std::string& name) {
    if (name == "float32") return Dtype::fp32;
    if (name == "float64") return Dtype::fp64;
    if (name == "bfloat16") return Dtype::bf16;
    if (name == "float16") return Dtype::fp16;
    throw std::invalid_argument("unknown dtype: " + name);
}

Sequence sequence(py::tuple sizes, Address batch_sizes, Address resets) {
    return {sizes[0].cast<int64_t>(), sizes[1].cast<int64_t>(),       sizes[2].cast<int64_t>(),
            sizes[3].cast<int64_t>(), at<const int64_t>(batch_sizes), at<const uint8_t>(resets)};
}

// One address for each direction; the second is 0 where there is none.
struct Pair {
    Address first, second;
};

Pair pair(const py::tuple& addresses) {
    return {addresses[0].cast<Address>(), addresses.size() > 1 ? addresses[1].cast<Address>() : 0};
}

void forward(const std::string& cell, const std::string& dtype, int threads, py::tuple sizes,
             Address batch_sizes, Address resets, Address gx, py::tuple input, py::tuple w_ih,
             py::tuple b_ih, py::tuple w_hh, py::tuple b_hh, Address h0, Address c0, Address y,
             Address h_n, Address c_n, Address c, Address saved) {
    const Pair ih = pair(w_ih), ihb = pair(b_ih), hh = pair(w_hh), hhb = pair(b_hh);
    const Forward call{sequence(sizes, batch_sizes, resets),
                       at(gx),
                       input[0].cast<int64_t>(),
                       at(input[1].cast<Address>()),
                       input[2].cast<int64_t>(),
                       input[3].cast<int64_t>(),
                       {at(ih.first), at(ih.second)},
                       {at(ihb.first), at(ihb.second)},
                       {at(hh.first), at(hh.second)},
                       {at(hhb.first), at(hhb.second)},
                       at(h0),
                       at(c0),
                       at<void>(y),
                       at<void>(h_n),
                       at<void>(c_n),
                       at<void>(c),
                       at<void>(saved)};
    const CellName name = cell_named(cell);
    const Dtype type = dtype_named(dtype);
    py::gil_scoped_release released;
    kernels().forward(call, name, type, threads);
}

void backward(const std::string& cell, const std::string& dtype, int threads, py::tuple sizes,
              Address batch_sizes, Address resets, Address w_hh, Address h0, Address c0, Address y,
              Address c, Address saved, Address dy, Address dh_n, Address dc_n, Address dc,
              Address dgx, Address dgh, Address dh0, Address dc0, Address dw_hh, Address db_hh) {
    const Backward call{sequence(sizes, batch_sizes, resets),
                        at(w_hh),
                        at(h0),
                        at(c0),
                        at(y),
                        at(c),
                        at(saved),
                        at(dy),
                        at(dh_n),
                        at(dc_n),
                        at(dc),
                        at<void>(dgx),
                        at<void>(dgh),
                        at<void>(dh0),
                        at<void>(dc0),
                        at<void>(dw_hh),
                        at<void>(db_hh)};
    const CellName name = cell_named(cell);
    const Dtype type = dtype_named(dtype);
    py::gil_scoped_release released;
    kernels().backward(call, name, type, threads);
}

void step(const std::string& cell, const std::string& dtype, int threads, int64_t B, int64_t I,
          int64_t H, Address x, int64_t x_row, Address w_ih, Address b_ih, Address w_hh,
          Address b_hh, Address h0, Address c0, Address h, Address c, Address y, Address c_all,
          Address saved) {
    const Step call{B,
                    I,
                    H,
                    at(x),
                    x_row,
                    at(w_ih),
                    at(b_ih),
                    at(w_hh),
                    at(b_hh),
                    at(h0),
                    at(c0),
                    at<void>(h),
                    at<void>(c),
                    at<void>(y),
                    at<void>(c_all),
                    at<void>(saved)};
    const CellName name = cell_named(cell);
    const Dtype type = dtype_named(dtype);
    py::gil_scoped_release released;
    kernels().step(call, name, type, threads);
}

void gates_forward(const std::string& cell, const std::string& dtype, int threads, int64_t rows,
                   int64_t H, Address gx, Address gh, Address state, Address h, Address c,
                   Address c_all, Address saved) {
    const GatesForward call{rows,        H,           at(gx),          at(gh),         at(state),
                            at<void>(h), at<void>(c), at<void>(c_all), at<void>(saved)};
    const CellName name = cell_named(cell);
    const Dtype type = dtype_named(dtype);
    py::gil_scoped_release released;
    kernels().gates_forward(call, name, type, threads);
}

void gates_backward(const std::string& cell, const std::string& dtype, int threads, int64_t rows,
                    int64_t H, Address dh, Address dc, Address state, Address c_all, Address saved,
                    Address dgx, Address dgh, Address dstate) {
    const GatesBackward call{rows,      H,         at(dh),        at(dc),        at(state),
                             at(c_all), at(saved), at<void>(dgx), at<void>(dgh), at<void>(dstate)};
    const CellName name = cell_named(cell);
    const Dtype type = dtype_named(dtype);
    py::gil_scoped_release released;
    kernels().gates_backward(call, name, type, threads);
}

py::dict plan(const std::string& cell, const std::string& dtype, int threads, py::tuple sizes,
              int64_t I, bool packed) {
    Sequence seq = sequence(sizes, 0, 0);
    const int64_t some = 0;
    if (packed) seq.batch_sizes = &some;  // the plan asks only whether there are any
    const Plan p = kernels().plan(seq, I, cell_named(cell), dtype_named(dtype), threads);
    py::dict d;
    d["row_groups"] = p.row_groups;
    d["unit_groups"] = p.unit_groups;
    d["pack"] = p.pack;
    d["chunk"] = p.chunk;
    return d;
}

}  // namespace

PYBIND11_MODULE(_core, m) {
    m.doc() = "Compiled CPU kernels. Checks nothing: rnn_kernels.cpu does.";
    m.def("isa", [] { return kernels().isa; }, "Instruction set in use.");
    m.def("vector_bytes", [] { return kernels().vector_bytes; });
    m.attr("compiler") = RNN_COMPILER;
    m.def("forward", &forward);
    m.def("backward", &backward);
    m.def("step", &step);
    m.def("gates_forward", &gates_forward);
    m.def("gates_backward", &gates_backward);
    m.def("plan", &plan);
    m.def("prefer_large_pages",
          [](Address data, std::size_t bytes) { prefer_large_pages(at<void>(data), bytes); });
    m.attr("large") = large;
    rnn::add_tensors(m);
}
