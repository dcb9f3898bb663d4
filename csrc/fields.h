// A call's arrays and sizes by name: a Python dictionary fills a struct.
//
// A name stands once, in RNN_FIELD. A field that the dictionary lacks stays as it is: null, zero. A
// name that no field has is an error.
#pragma once

#include <pybind11/pybind11.h>

#include <array>
#include <cstdint>

namespace rnn {

class Fields {
public:
    explicit Fields(const pybind11::dict& given) : given_(given.ptr()) {}

    template <class T>
    void read(PyObject* name, T& field) {
        asked_.at(number_++) = name;
        PyObject* const value = PyDict_GetItemWithError(given_, name);
        if (value && !set(value, field))
            PyErr_Format(PyExc_TypeError, "field %U cannot be %R", name, value);
        if (PyErr_Occurred()) throw pybind11::error_already_set();
        found_ += value != nullptr;
    }

    // After the last field. Raises TypeError if there was more.
    void end() const {
        if (found_ == PyDict_Size(given_)) return;
        PyObject *name, *value;
        for (Py_ssize_t at = 0; PyDict_Next(given_, &at, &name, &value);)
            if (!asked(name)) {
                PyErr_Format(PyExc_TypeError, "this call has no field %R", name);
                throw pybind11::error_already_set();
            }
    }

private:
    bool asked(PyObject* name) const {
        for (size_t i = 0; i < number_; i++) {
            const int same = PyObject_RichCompareBool(name, asked_[i], Py_EQ);
            if (same < 0) throw pybind11::error_already_set();
            if (same) return true;
        }
        return false;
    }

    // Arrays are addresses, 0 for none.
    template <class T>
    static bool set(PyObject* value, T*& field) {
        field = reinterpret_cast<T*>(PyLong_AsSize_t(value));
        return !PyErr_Occurred();
    }
    static bool set(PyObject* value, int64_t& field) {
        field = PyLong_AsLongLong(value);
        return !PyErr_Occurred();
    }
    // One address for each direction.
    static bool set(PyObject* value, const void* (&field)[2]) {
        const Py_ssize_t number = PyTuple_Check(value) ? PyTuple_GET_SIZE(value) : 0;
        if (number < 1 || number > 2) return false;
        for (Py_ssize_t i = 0; i < number; i++)
            if (!set(PyTuple_GET_ITEM(value, i), field[i])) return false;
        return true;
    }

    PyObject* given_;
    std::array<PyObject*, 32> asked_;
    size_t number_ = 0;
    Py_ssize_t found_ = 0;
};

}  // namespace rnn

// Reads object.name with `fields`. The name is interned: a look-up is a comparison of addresses,
// and a call has 20 of them.
#define RNN_FIELD_OF(object, name)                                           \
    do {                                                                     \
        static PyObject* const interned = PyUnicode_InternFromString(#name); \
        fields.read(interned, (object).name);                                \
    } while (false)
#define RNN_FIELD(name) RNN_FIELD_OF(call, name)
