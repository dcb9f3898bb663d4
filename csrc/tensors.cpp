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

bool in_memory(const Names& names, const Kind& kind, PyObject* tensor, PyObject* shape) {
    PyObject* const type = reinterpret_cast<PyObject*>(Py_TYPE(tensor));
    if (type != kind.tensor && type != kind.parameter) return false;
    const auto get = [&](PyObject* name) { return PyObject_GetAttr(tensor, name); };
    const auto ask = [&](PyObject* name) { return PyObject_CallMethodNoArgs(tensor, name); };
    const bool there = kind.device == Py_None ? is(get(names.is_cpu), Py_True)  // sooner answered
                                              : equals(get(names.device), kind.device);
    return there && is(get(names.dtype), kind.dtype) && is(ask(names.is_contiguous), Py_True) &&
           // To spare time: a parameter is negated in order only if torch._neg_view made it so.
           (type != kind.tensor || is(ask(names.is_neg), Py_False)) &&
           equals(get(names.shape), shape);
}

constexpr const char* about =
    "addresses_in_memory(Tensor, Parameter, dtype, device, tensor, shape, tensor, shape, ...)\n\n"
    "Where the tensors' values lie, 0 for None; or None, if one of them is of neither of the two\n"
    "types, of another dtype or shape, without memory, or not on the device (None: the CPU) in\n"
    "order as it is.";

PyObject* addresses_in_memory(PyObject*, PyObject* const* args, Py_ssize_t count) {
    if (count < 4 || count % 2) {
        PyErr_SetString(PyExc_TypeError, about);
        return nullptr;
    }
    const Kind kind = {args[0], args[1], args[2], args[3]};
    PyObject* found = PyTuple_New((count - 4) / 2);
    for (Py_ssize_t i = 4; found && i < count; i += 2) {
        PyObject* const address = address_in_memory(kind, args[i], args[i + 1]);
        if (!address) {
            Py_DECREF(found);
            if (PyErr_Occurred()) return nullptr;
            Py_RETURN_NONE;
        }
        PyTuple_SET_ITEM(found, (i - 4) / 2, address);
    }
    return found;
}

PyMethodDef methods[] = {
    {"addresses_in_memory",
     reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(addresses_in_memory)), METH_FASTCALL,
     about},
    {nullptr, nullptr, 0, nullptr}};

}  // namespace

PyObject* address_in_memory(const Kind& kind, PyObject* tensor, PyObject* shape) {
    static const Names names;
    if (tensor == Py_None) return PyLong_FromLong(0);
    if (!in_memory(names, kind, tensor, shape)) return nullptr;
    PyObject* address = PyObject_CallMethodNoArgs(tensor, names.data_ptr);
    if (address && PyObject_Not(address)) Py_CLEAR(address);  // its memory was given back
    return address;
}

void add_tensors(PyObject* module) { PyModule_AddFunctions(module, methods); }

}  // namespace rnn
