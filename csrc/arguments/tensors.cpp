#include "tensors.h"

#include <exception>

#include "names.h"

namespace rnn {
namespace {

// The names, made once.
struct Names {
    PyObject* shape = PyUnicode_InternFromString("shape");
    PyObject* dtype = PyUnicode_InternFromString("dtype");
    PyObject* is_cpu = PyUnicode_InternFromString("is_cpu");
    PyObject* device = PyUnicode_InternFromString("device");
    PyObject* index = PyUnicode_InternFromString("index");
    PyObject* is_contiguous = PyUnicode_InternFromString("is_contiguous");
    PyObject* is_neg = PyUnicode_InternFromString("is_neg");
    PyObject* data_ptr = PyUnicode_InternFromString("data_ptr");
    PyObject* numel = PyUnicode_InternFromString("numel");
};

const Names& names() {
    static const Names all;
    return all;
}

PyObject* ask(PyObject* tensor, PyObject* method) {
    return PyObject_CallMethodNoArgs(tensor, method);
}

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

// Takes a number from Python's, which it consumes.
bool take(PyObject* number, size_t& to) {
    if (!number) return false;
    to = PyLong_AsSize_t(number);
    Py_DECREF(number);
    return !PyErr_Occurred();
}

bool asked_address(PyObject* tensor, const void*& to) {
    size_t address = 0;
    if (!take(ask(tensor, names().data_ptr), address)) return false;
    to = reinterpret_cast<const void*>(address);
    return true;
}

bool is_element(const Described& t, Dtype dtype) {
    enum Code { floating = 2, brain = 4 };  // DLPack's
    const int bits = dtype == Dtype::fp64 ? 64 : dtype == Dtype::fp32 ? 32 : 16;
    return t.code == (dtype == Dtype::bf16 ? brain : floating) && t.bits == bits && t.lanes == 1;
}

bool is_shape(const Described& t, PyObject* shape) {
    if (!PyTuple_Check(shape) || PyTuple_GET_SIZE(shape) != t.dims) return false;
    for (int32_t i = 0; i < t.dims; i++)
        if (PyLong_AsLongLong(PyTuple_GET_ITEM(shape, i)) != t.shape[i]) return false;
    return true;
}

// Neither a subclass's, which may have no memory, nor with a sign that is left to be flipped.
bool is_plain(const Types& types, PyObject* tensor) {
    PyObject* const own = reinterpret_cast<PyObject*>(Py_TYPE(tensor));
    // To spare time: a parameter is negated in order only if torch._neg_view made it so.
    return own == types.parameter ||
           (own == types.tensor && is(ask(tensor, names().is_neg), Py_False));
}

bool is_in_order(const Types& types, PyObject* tensor) {
    if (tensor == Py_None) return true;
    if (!is_plain(types, tensor)) return false;
    const Describe describe = describe_of(types.tensor);
    if (!describe) return is(ask(tensor, names().is_contiguous), Py_True);
    Described t;
    if (describe(tensor, &t) == 0) return t.contiguous();
    PyErr_Clear();  // as below
    return false;
}

constexpr const char* about_in_order =
    "in_order(Tensor, Parameter, tensors)\n\n"
    "Whether each of the tensors is None, or of one of the two types, contiguous, and without a\n"
    "sign that is left to be flipped.";

PyObject* in_order(PyObject*, PyObject* const* args, Py_ssize_t count) {
    if (count != 3 || !PyTuple_Check(args[2])) {
        PyErr_SetString(PyExc_TypeError, about_in_order);
        return nullptr;
    }
    bool all = true;
    for (Py_ssize_t i = 0; all && i < PyTuple_GET_SIZE(args[2]); i++)
        all = is_in_order({args[0], args[1]}, PyTuple_GET_ITEM(args[2], i));
    return PyErr_Occurred() ? nullptr : PyBool_FromLong(all);
}

constexpr const char* about_in_memory =
    "in_memory((Tensor, Parameter, dtype), dtype_name, device, expected)\n\n"
    "Whether each of the expected (name, tensor, shape) is a tensor of one of the two types, of "
    "the\n"
    "dtype and its shape, with memory, on the device (None: the CPU), and in order; or None.";

PyObject* in_memory(PyObject*, PyObject* const* args, Py_ssize_t count) {
    if (count != 4 || !PyTuple_Check(args[0]) || PyTuple_GET_SIZE(args[0]) != 3 ||
        !PyTuple_Check(args[3])) {
        PyErr_SetString(PyExc_TypeError, about_in_memory);
        return nullptr;
    }
    const char* const dtype = PyUnicode_AsUTF8(args[1]);
    if (!dtype) return nullptr;
    try {
        PyObject* const* const of = reinterpret_cast<PyTupleObject*>(args[0])->ob_item;
        const Search search({{of[0], of[1]}, of[2], args[2], dtype_named(dtype)});
        bool all = true;
        for (Py_ssize_t i = 0; all && i < PyTuple_GET_SIZE(args[3]); i++) {
            PyObject *name, *tensor, *shape;
            const void* at;
            all = PyArg_ParseTuple(PyTuple_GET_ITEM(args[3], i), "OOO", &name, &tensor, &shape) &&
                  search.finds(tensor, shape, at);
        }
        return PyErr_Occurred() ? nullptr : PyBool_FromLong(all);
    } catch (const std::exception& error) {
        PyErr_SetString(PyExc_ValueError, error.what());
        return nullptr;
    }
}

PyCFunction quick(PyObject* (*function)(PyObject*, PyObject* const*, Py_ssize_t)) {
    return reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(function));
}

PyMethodDef methods[] = {{"in_order", quick(in_order), METH_FASTCALL, about_in_order},
                         {"in_memory", quick(in_memory), METH_FASTCALL, about_in_memory},
                         {nullptr, nullptr, 0, nullptr}};

}  // namespace

bool address_of(PyObject* tensor, const void*& to) {
    size_t elements = 1;
    if (const Describe describe = describe_of(reinterpret_cast<PyObject*>(Py_TYPE(tensor)))) {
        Described t;
        if (describe(tensor, &t) != 0) return false;
        to = t.address();
        for (int32_t i = 0; i < t.dims; i++) elements *= size_t(t.shape[i]);
    } else if (!asked_address(tensor, to) || (!to && !take(ask(tensor, names().numel), elements))) {
        return false;
    }
    if (to || elements == 0) return true;
    PyErr_Format(PyExc_RuntimeError, "kernels need tensors with memory, got %R", Py_TYPE(tensor));
    return false;
}

bool Search::is_there(const Described& t) const {
    enum Type { cpu = 1, cuda = 2, rocm = 10 };  // DLPack's
    if (kind_.device == Py_None) return t.device_type == cpu;
    if (t.device_type == cpu) return false;
    size_t index = 0;
    return (t.device_type == cuda || t.device_type == rocm) &&
           take(PyObject_GetAttr(kind_.device, names().index), index) && size_t(t.device) == index;
}

bool Search::fits(const Described& t, PyObject* shape) const {
    return is_element(t, kind_.element) && is_there(t) && t.contiguous() && is_shape(t, shape);
}

bool Search::fits(PyObject* tensor, PyObject* shape) const {
    const auto get = [&](PyObject* name) { return PyObject_GetAttr(tensor, name); };
    const bool there = kind_.device == Py_None
                           ? is(get(names().is_cpu), Py_True)  // sooner answered
                           : equals(get(names().device), kind_.device);
    return there && is(get(names().dtype), kind_.dtype) &&
           is(ask(tensor, names().is_contiguous), Py_True) && equals(get(names().shape), shape);
}

bool Search::finds(PyObject* tensor, PyObject* shape, const void*& to) const {
    to = nullptr;
    if (tensor == Py_None) return true;
    if (!is_plain(kind_.types, tensor)) return false;
    if (!describe_) return fits(tensor, shape) && asked_address(tensor, to) && to;
    Described t;
    if (describe_(tensor, &t) == 0) {
        to = t.address();
        return to && fits(t, shape);
    }
    PyErr_Clear();  // nothing that it could describe: sparse, meta, a batch of vmap's
    return false;
}

void add_tensors(PyObject* module) { PyModule_AddFunctions(module, methods); }

}  // namespace rnn
