// What both binding files read Python's arguments with.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <stdexcept>
#include <string>

#include "../cells/gru.h"
#include "../cells/lstm.h"
#include "dtype.h"

namespace py = pybind11;

using Address = std::uintptr_t;

template <class T = const void>
T* at(Address address) {
    return reinterpret_cast<T*>(address);
}

template <class F>
void with_cell(const std::string& name, const F& f) {
    if (name == rnn::Lstm::name) return f.template operator()<rnn::Lstm>();
    if (name == rnn::Gru::name) return f.template operator()<rnn::Gru>();
    throw std::invalid_argument("unknown cell: " + name);
}

inline rnn::cuda::Dtype dtype_named(const std::string& name) {
    using rnn::cuda::Dtype;
    if (name == "float32") return Dtype::fp32;
    if (name == "float64") return Dtype::fp64;
    if (name == "bfloat16") return Dtype::bf16;
    if (name == "float16") return Dtype::fp16;
    throw std::invalid_argument("unknown dtype: " + name);
}

void bind_recurrence(py::module_& m);
