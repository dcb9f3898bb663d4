// Python's view of the CUDA backend. A module of its own, so that what goes wrong with CUDA on a
// machine leaves the CPU backend alone.
#include <pybind11/pybind11.h>

#include "device.h"

namespace py = pybind11;
using namespace rnn::cuda;

namespace {

py::dict describe(const Device& device) {
    py::dict d;
    d["name"] = device.name;
    d["capability"] = device.capability;
    d["multiprocessors"] = device.multiprocessors;
    d["registers"] = device.registers;
    d["shared_memory"] = device.shared_memory;
    d["l2"] = device.l2;
    d["runs"] = device.runs;
    return d;
}

}  // namespace

PYBIND11_MODULE(_cuda, m) {
    m.doc() = "Compiled CUDA kernels.";
    m.attr("architectures") = RNN_CUDA_ARCHITECTURES;
    m.def("runtime_version", &runtime_version);
    m.def("driver_version", &driver_version);
    m.def("devices", [] {
        py::list all;
        for (const Device& device : devices()) all.append(describe(device));
        return all;
    });
}
