// Python's view of the machine.
#include <pybind11/pybind11.h>

#include "machine/fault.h"
#include "machine/regions.h"
#include "machine/scheduler.h"

namespace py = pybind11;

PYBIND11_MODULE(_machine, m) {
    py::register_exception<emulated::Fault>(m, "Fault", PyExc_RuntimeError);
    m.def("seed", &emulated::set_seed, "Later launches draw their schedule from it; 0: in order.");
    m.def(
        "add_buffer",
        [](uintptr_t address, size_t bytes, const std::string& name) {
            emulated::add_buffer(reinterpret_cast<const void*>(address), bytes, name);
        },
        "Kernels may touch this memory, of that name in messages.");
    m.def("remove_all_buffers", &emulated::remove_all_buffers, "Until they are added again.");
}
