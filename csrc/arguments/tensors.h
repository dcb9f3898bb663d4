// What Python's tensors are asked, faster than from Python and without torch's headers.
#pragma once

#include <Python.h>

#include "../dtype.h"
#include "dlpack.h"

namespace rnn {

// Where the values of a tensor lie; null if it has no elements. False where Python has an error:
// one without memory, such as a wrapper's, is one.
bool address_of(PyObject* tensor, const void*& to);

// Torch's Tensor and Parameter.
struct Types {
    PyObject *tensor, *parameter;
};

// What tensors have to be: of one of two types, of a dtype, which is given as torch's as well, and
// in the memory of a device; None is the CPU.
struct Kind {
    Types types;
    PyObject *dtype, *device;
    Dtype element;
};

// Looks at tensors of one kind.
class Search {
public:
    explicit Search(const Kind& kind) : kind_(kind), describe_(describe_of(kind.types.tensor)) {}

    // Whether a tensor is of the kind and the shape, in order as it is, and in memory, and where;
    // None is nowhere. Where the answer is no Python may have an error.
    bool finds(PyObject* tensor, PyObject* shape, const void*& to) const;

private:
    bool fits(const Described& tensor, PyObject* shape) const;
    bool is_there(const Described& tensor) const;
    bool fits(PyObject* tensor, PyObject* shape) const;

    Kind kind_;
    Describe describe_;
};

// Adds `in_order` and `in_memory` to a module.
void add_tensors(PyObject* module);

}  // namespace rnn
