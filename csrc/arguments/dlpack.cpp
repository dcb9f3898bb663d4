#include "dlpack.h"

namespace rnn {
namespace {

// DLPack's table of functions, of which this needs one.
struct Exchange {
    uint32_t major, minor;
    const Exchange* before;  // of an older version
    void* others[3];
    Describe describe;
};

constexpr uint32_t known = 1;  // the version that the structs here belong to

Describe look_up(PyObject* type) {
    PyObject* const capsule = PyObject_GetAttrString(type, "__dlpack_c_exchange_api__");
    const auto* table = static_cast<const Exchange*>(
        capsule ? PyCapsule_GetPointer(capsule, "dlpack_exchange_api") : nullptr);
    PyErr_Clear();  // a torch that has no such attribute
    Py_XDECREF(capsule);
    while (table && table->major != known) table = table->before;
    return table ? table->describe : nullptr;
}

}  // namespace

bool Described::contiguous() const {
    bool ordered = true;
    int64_t next = 1;
    for (int32_t i = dims - 1; i >= 0; i--) {
        if (shape[i] == 0) return true;
        if (strides && shape[i] != 1 && strides[i] != next) ordered = false;
        next *= shape[i];
    }
    return ordered;
}

Describe describe_of(PyObject* type) {
    // Of the type asked for last, which is kept for as long. Tensor and its heirs, Parameter among
    // them, share one.
    static PyObject* last = nullptr;
    static Describe found = nullptr;
    if (type != last) {
        found = look_up(type);
        Py_INCREF(type);
        Py_XDECREF(last);
        last = type;
    }
    return found;
}

}  // namespace rnn
