// What Python's tensors are asked, faster than from Python: without torch's headers, by the names
// of their attributes.
#pragma once

#include <Python.h>

namespace rnn {

// What tensors have to be: of one of two types (torch's Tensor and Parameter), of a dtype, and in
// the memory of a device; None is the CPU.
struct Kind {
    PyObject *tensor, *parameter, *dtype, *device;
};

// Where the values of `tensor` lie, as a Python integer: 0 for None. Null if it is of another kind
// or shape, or has no memory, or is not in order as it is; so it is where Python has an error.
PyObject* address_in_memory(const Kind& kind, PyObject* tensor, PyObject* shape);

// Adds `addresses_in_memory` to a module.
void add_tensors(PyObject* module);

}  // namespace rnn
