// A kernel for a test: what it takes, and its name for Python.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "../../csrc/cuda/launch.h"

struct Arguments {
    void* arrays[6];
    int64_t numbers[4];

    template <class T>
    __device__ T* array(int i) const {
        return static_cast<T*>(arrays[i]);
    }
    __device__ int number(int i) const { return int(numbers[i]); }
};

using Kernel = void (*)(Arguments);
using Kernels = std::map<std::string, Kernel>;
Kernels& all_kernels();

// Each file has one of these. Ends the process if two kernels have one name.
struct Registered {
    explicit Registered(const Kernels& kernels);
};

// Throws std::runtime_error, with the name, if CUDA refuses.
void launch(const std::string& name, Kernel kernel, const rnn::cuda::Place& place,
            const rnn::cuda::Shape& shape, const Arguments& arguments);
