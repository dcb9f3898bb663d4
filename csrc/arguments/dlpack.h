// What torch tells of a tensor in one call, by DLPack's C exchange, which torch has from 2.10 on.
// Attribute by attribute it takes longer.
#pragma once

#include <Python.h>

#include <cstdint>

namespace rnn {

// A tensor in DLPack's words, whose layout in memory is fixed: https://dmlc.github.io/dlpack.
// It does not tell of a sign that is left to be flipped (Tensor.is_neg).
struct Described {
    void* data;
    int32_t device_type, device;
    int32_t dims;
    uint8_t code, bits;
    uint16_t lanes;
    const int64_t *shape, *strides;
    uint64_t offset;  // of the first element, in bytes

    // As torch's is_contiguous: where a size is one its stride does not count.
    bool contiguous() const;
    const void* address() const { return data ? static_cast<char*>(data) + offset : nullptr; }
};

// Fills `to` from a tensor and returns 0; anything else is an error that Python knows of. What
// `to` points to lives as long as the tensor stays as it is.
using Describe = int (*)(void* tensor, Described* to);

// That of a type of tensors, or null: this torch has none.
Describe describe_of(PyObject* type);

}  // namespace rnn
