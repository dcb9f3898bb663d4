#include "fields.h"

#include "tensors.h"

namespace rnn {
namespace {

bool known_address(PyObject* value, const void*& field) {
    if (value == Py_None) return true;
    if (!PyLong_Check(value)) return address_of(value, field);
    const size_t address = PyLong_AsSize_t(value);
    if (address == size_t(-1) && PyErr_Occurred()) return false;
    field = reinterpret_cast<const void*>(address);
    return true;
}

}  // namespace

void Fields::read(PyObject* name, void*& field) {
    const void* address = nullptr;
    if (PyObject* const value = find(name)) {
        check(name, value, known_address(value, address));
        field = const_cast<void*>(address);
    }
}

void Fields::read(PyObject* name, const void* (&field)[2]) {
    PyObject* const value = find(name);
    if (!value) return;
    const Py_ssize_t number = PyTuple_Check(value) ? PyTuple_GET_SIZE(value) : 0;
    bool known = number == 1 || number == 2;
    for (Py_ssize_t i = 0; known && i < number; i++)
        known = known_address(PyTuple_GET_ITEM(value, i), field[i]);
    check(name, value, known);
}

void Fields::read(PyObject* name, int64_t& field) {
    if (PyObject* const value = find(name)) {
        field = PyLong_AsLongLong(value);
        check(name, value, field != -1 || !PyErr_Occurred());
    }
}

PyObject* Fields::find(PyObject* name) {
    if (failed_) return nullptr;
    asked_.at(number_++) = name;
    PyObject* const value = PyDict_GetItemWithError(given_, name);
    if (value) found_++;
    failed_ = !value && PyErr_Occurred();
    return value;
}

void Fields::check(PyObject* name, PyObject* value, bool known) {
    if (known) return;
    failed_ = true;
    if (PyErr_ExceptionMatches(PyExc_RuntimeError)) return;  // of a tensor, and says it all
    PyErr_Format(PyExc_TypeError, "field %U cannot be %R", name, value);
}

bool Fields::complete() const {
    if (failed_) return false;
    if (found_ == PyDict_Size(given_)) return true;
    PyObject *name, *value;
    for (Py_ssize_t at = 0; PyDict_Next(given_, &at, &name, &value);) {
        int same = 0;
        for (size_t i = 0; i < number_ && same == 0; i++)
            same = PyObject_RichCompareBool(name, asked_[i], Py_EQ);
        if (same == 0) PyErr_Format(PyExc_TypeError, "this call has no field %R", name);
        if (same <= 0) return false;
    }
    return true;
}

}  // namespace rnn
