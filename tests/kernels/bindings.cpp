// Python's view of the kernels for tests, in both worlds.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <vector>

#include "kernel.h"

namespace py = pybind11;

namespace {

using Size = std::array<unsigned, 3>;

dim3 size(const Size& s) { return dim3(s[0], s[1], s[2]); }

void launch_named(const std::string& name, const Size& grid, const Size& block, const Size& cluster,
                  size_t shared, bool cooperative, std::uintptr_t stream,
                  const std::array<std::uintptr_t, 6>& arrays,
                  const std::array<int64_t, 4>& numbers) {
    Arguments arguments = {};
    for (size_t i = 0; i < arrays.size(); i++)
        arguments.arrays[i] = reinterpret_cast<void*>(arrays[i]);
    for (size_t i = 0; i < numbers.size(); i++) arguments.numbers[i] = numbers[i];
    const auto found = all_kernels().find(name);
    if (found == all_kernels().end()) throw std::invalid_argument("no kernel is called " + name);
    launch(name, found->second, {0, reinterpret_cast<cudaStream_t>(stream)},
           {size(grid), size(block), shared, size(cluster), cooperative}, arguments);
}

}  // namespace

Kernels& all_kernels() {
    static Kernels kernels;
    return kernels;
}

Registered::Registered(const Kernels& kernels) {
    for (const auto& [name, kernel] : kernels) {
        if (all_kernels().emplace(name, kernel).second) continue;
        std::fprintf(stderr, "two kernels for tests are called %s\n", name.c_str());
        std::abort();
    }
}

PYBIND11_MODULE(_kernels, m) {
    m.def("launch", &launch_named);
    m.def("names", [] {
        std::vector<std::string> names;
        for (const auto& [name, kernel] : all_kernels()) names.push_back(name);
        return names;
    });
}
