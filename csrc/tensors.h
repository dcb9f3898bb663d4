// What Python's tensors are asked, faster than from Python: without torch's headers, by the names
// of their attributes.
#pragma once

#include <pybind11/pybind11.h>

namespace rnn {

// Adds `addresses_in_memory` to a module.
void add_tensors(pybind11::module_& module);

}  // namespace rnn
