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

// Throws std::runtime_error, with the name, if CUDA refuses.
void launch(const std::string& name, Kernel kernel, const rnn::cuda::Place& place,
            const rnn::cuda::Shape& shape, const Arguments& arguments);

// Each of these adds the kernels of one file.
void add_atomics(Kernels& kernels);
void add_blocks(Kernels& kernels);
void add_broken(Kernels& kernels);
void add_broken_clusters(Kernels& kernels);
void add_clusters(Kernels& kernels);
void add_copies(Kernels& kernels);
void add_edges(Kernels& kernels);
void add_matrices(Kernels& kernels);
void add_mbarriers(Kernels& kernels);
void add_warps(Kernels& kernels);
void add_wrong(Kernels& kernels);
