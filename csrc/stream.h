// One step of a layer whose caller carries the state, as a loop takes it by the thousand.
#pragma once

#include <Python.h>

namespace rnn {

// Adds `stream` to a module.
void add_stream(PyObject* module);

}  // namespace rnn
