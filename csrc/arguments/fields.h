// A call's arrays and sizes by name: a Python dictionary of tensors and numbers fills a struct.
//
// A name stands once, in RNN_FIELD. A field that the dictionary lacks stays as it is: null, zero. A
// name that no field has is an error.
#pragma once

#include <Python.h>

#include <array>
#include <cstdint>

namespace rnn {

class Fields {
public:
    explicit Fields(PyObject* given) : given_(given) {}

    // Arrays are tensors, None, or addresses; a pair has one for each direction, or one alone.
    void read(PyObject* name, void*& field);
    void read(PyObject* name, const void* (&field)[2]);
    void read(PyObject* name, int64_t& field);
    template <class T>
    void read(PyObject* name, T*& field) {
        void* address = nullptr;
        read(name, address);
        if (address) field = static_cast<T*>(address);
    }

    // After the last field: whether all were as they should be and there were no others. If not,
    // Python has an error.
    bool complete() const;

private:
    // The value of a field, or null.
    PyObject* find(PyObject* name);
    void check(PyObject* name, PyObject* value, bool known);

    PyObject* given_;
    std::array<PyObject*, 32> asked_;
    size_t number_ = 0;
    Py_ssize_t found_ = 0;
    bool failed_ = false;  // Python has an error
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
