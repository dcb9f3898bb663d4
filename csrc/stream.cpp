#include "stream.h"

#include <cstdint>
#include <exception>

#include "arguments/names.h"
#include "arguments/tensors.h"
#include "cpu/cpu.h"
#include "with_cell.h"

namespace rnn {
namespace {

constexpr const char* about =
    "stream(cell, dtype_name, threads, (Tensor, Parameter, dtype), tensors, shapes, results)\n\n"
    "One step: (w_ih, w_hh, b_ih, b_hh, h, c, x) of these shapes into (h_new, c_new, y, c_all,\n"
    "saved), which are fresh and contiguous; None where they do not apply. False, with nothing\n"
    "done, where in_memory says no or an array that the cell needs is None.";

enum Tensors { w_ih, w_hh, b_ih, b_hh, h, c, x, tensors };
enum Results { h_new, c_new, y, c_all, saved, results };

// A tuple's items, or null for anything else.
PyObject* const* items(PyObject* tuple, Py_ssize_t number) {
    if (!PyTuple_Check(tuple) || PyTuple_GET_SIZE(tuple) != number) return nullptr;
    return reinterpret_cast<PyTupleObject*>(tuple)->ob_item;
}

// The i-th number of a shape, from its end where i is negative; -1 if there is none.
int64_t size(PyObject* shape, Py_ssize_t i) {
    const Py_ssize_t number = PyTuple_Check(shape) ? PyTuple_GET_SIZE(shape) : 0;
    if (i < 0) i += number;
    return i < 0 || i >= number ? -1 : PyLong_AsLongLong(PyTuple_GET_ITEM(shape, i));
}

// Fills the call; false, perhaps with an error, where it is none of those that go this way.
bool read(cpu::Step& call, const Search& search, PyObject* const* given, PyObject* const* shapes,
          PyObject* const* fresh) {
    const auto in = [&](Tensors i, const void*& to) {
        return search.finds(given[i], shapes[i], to);
    };
    const auto out = [&](Results i, void*& to) {
        const void* at = nullptr;
        const bool is = fresh[i] == Py_None || address_of(fresh[i], at);
        to = const_cast<void*>(at);
        return is;
    };
    if (!in(w_ih, call.w_ih) || !in(w_hh, call.w_hh) || !in(b_ih, call.b_ih) ||
        !in(b_hh, call.b_hh) || !in(h, call.h0) || !in(c, call.c0) || !in(x, call.x) ||
        !out(h_new, call.h) || !out(c_new, call.c) || !out(y, call.y) || !out(c_all, call.c_all) ||
        !out(saved, call.saved))
        return false;
    call.I = call.x_row = size(shapes[w_ih], 1);
    call.H = size(shapes[h], -1);
    call.B = 1;
    for (Py_ssize_t i = 0; i + 1 < PyTuple_GET_SIZE(shapes[x]); i++) call.B *= size(shapes[x], i);
    return !PyErr_Occurred() && call.w_ih && call.w_hh && call.h0 && call.x && call.h;
}

// Lets other threads of Python run for its life.
struct Released {
    PyThreadState* const state = PyEval_SaveThread();
    ~Released() { PyEval_RestoreThread(state); }
};

// False where the cell's states are not those of the call.
bool run(const cpu::Step& call, const char* cell, Dtype dtype, int threads) {
    bool complete = false;
    with_cell(cell, [&]<Cell C>() { complete = C::has_c ? call.c0 && call.c : !call.c0; });
    if (!complete) return false;
    const Released released;
    cpu::kernels(dtype).step(call, cell, dtype, threads);
    return true;
}

PyObject* stream(PyObject*, PyObject* const* args, Py_ssize_t count) {
    PyObject* const* const types = count == 7 ? items(args[3], 3) : nullptr;
    PyObject* const* const given = types ? items(args[4], tensors) : nullptr;
    PyObject* const* const shapes = given ? items(args[5], tensors) : nullptr;
    PyObject* const* const fresh = shapes ? items(args[6], results) : nullptr;
    if (!fresh || !PyTuple_Check(shapes[x])) {
        PyErr_SetString(PyExc_TypeError, about);
        return nullptr;
    }
    const char* const cell = PyUnicode_AsUTF8(args[0]);
    const char* const dtype = cell ? PyUnicode_AsUTF8(args[1]) : nullptr;
    const long threads = PyLong_AsLong(args[2]);
    if (!dtype || PyErr_Occurred()) return nullptr;
    try {
        const Dtype element = dtype_named(dtype);
        const Search search({{types[0], types[1]}, types[2], Py_None, element});
        cpu::Step call = {};
        if (!read(call, search, given, shapes, fresh)) {
            if (PyErr_Occurred()) return nullptr;
            Py_RETURN_FALSE;
        }
        return PyBool_FromLong(run(call, cell, element, int(threads)));
    } catch (const std::exception& error) {
        PyErr_SetString(PyExc_ValueError, error.what());
        return nullptr;
    }
}

PyMethodDef methods[] = {{"stream", reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(stream)),
                          METH_FASTCALL, about},
                         {nullptr, nullptr, 0, nullptr}};

}  // namespace

void add_stream(PyObject* module) { PyModule_AddFunctions(module, methods); }

}  // namespace rnn
