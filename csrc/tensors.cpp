#include "tensors.h"

namespace rnn {
namespace {

// The names, made once.
struct Names {
    PyObject* shape = PyUnicode_InternFromString("shape");
    PyObject* dtype = PyUnicode_InternFromString("dtype");
    PyObject* is_cpu = PyUnicode_InternFromString("is_cpu");
    PyObject* device = PyUnicode_InternFromString("device");
    PyObject* is_contiguous = PyUnicode_InternFromString("is_contiguous");
    PyObject* is_neg = PyUnicode_InternFromString("is_neg");
    PyObject* data_ptr = PyUnicode_InternFromString("data_ptr");
};

// Whether `found`, which it consumes, is `expected`. Null is an error that Python knows of.
bool is(PyObject* found, PyObject* expected) {
    Py_XDECREF(found);
    return found == expected;
}

bool equals(PyObject* found, PyObject* expected) {
    const int same = found ? PyObject_RichCompareBool(found, expected, Py_EQ) : -1;
    Py_XDECREF(found);
    return same == 1;
}

bool in_memory(const Names& names, PyObject* tensor, PyObject* dtype, PyObject* device,
               PyObject* shape, bool may_be_negated) {
    const auto get = [&](PyObject* name) { return PyObject_GetAttr(tensor, name); };
    const auto ask = [&](PyObject* name) { return PyObject_CallMethodNoArgs(tensor, name); };
    const bool there = device == Py_None ? is(get(names.is_cpu), Py_True)  // sooner answered
                                         : equals(get(names.device), device);
    return there && is(get(names.dtype), dtype) && is(ask(names.is_contiguous), Py_True) &&
           (!may_be_negated || is(ask(names.is_neg), Py_False)) && equals(get(names.shape), shape);
}

constexpr const char* about =
    "addresses_in_memory(Tensor, Parameter, dtype, device, tensor, shape, tensor, shape, ...)\n\n"
    "Where the tensors' values lie, 0 for None; or None, if one of them is of neither of the two\n"
    "types, of another dtype or shape, without memory, or not on the device (None: the CPU) in\n"
    "order as it is.";

PyObject* addresses_in_memory(PyObject*, PyObject* const* args, Py_ssize_t count) {
    static const Names names;
    if (count < 4 || count % 2) {
        PyErr_SetString(PyExc_TypeError, about);
        return nullptr;
    }
    PyObject* found = PyTuple_New((count - 4) / 2);
    for (Py_ssize_t i = 4; found && i < count; i += 2) {
        PyObject *tensor = args[i], *address;
        PyObject* type = reinterpret_cast<PyObject*>(Py_TYPE(tensor));
        if (tensor == Py_None) {
            address = PyLong_FromLong(0);
        } else if ((type == args[0] || type == args[1]) &&
                   in_memory(names, tensor, args[2], args[3], args[i + 1], type == args[0])) {
            address = PyObject_CallMethodNoArgs(tensor, names.data_ptr);
            if (address && PyObject_Not(address)) Py_CLEAR(address);  // its memory was given back
            if (!address && !PyErr_Occurred())
                return Py_DECREF(found), (Py_INCREF(Py_None), Py_None);
        } else {
            Py_DECREF(found);
            if (PyErr_Occurred()) return nullptr;
            Py_RETURN_NONE;
        }
        if (!address) Py_CLEAR(found);
        if (found) PyTuple_SET_ITEM(found, (i - 4) / 2, address);
    }
    return found;
}

PyMethodDef methods[] = {
    {"addresses_in_memory",
     reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(addresses_in_memory)), METH_FASTCALL,
     about},
    {nullptr, nullptr, 0, nullptr}};

}  // namespace

void add_tensors(pybind11::module_& module) { PyModule_AddFunctions(module.ptr(), methods); }

}  // namespace rnn
