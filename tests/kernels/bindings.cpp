// Python's view of the kernels for tests, in both worlds.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>

#include "kernel.h"

namespace py = pybind11;

namespace {

using Size = std::array<unsigned, 3>;

const Kernels& all() {
    static const Kernels kernels = [] {
        Kernels found;
        for (const auto add :
             {add_atomics, add_blocks, add_broken, add_broken_clusters, add_clusters, add_copies,
              add_edges, add_matrices, add_mbarriers, add_warps, add_wrong})
            add(found);
        return found;
    }();
    return kernels;
}

dim3 size(const Size& s) { return dim3(s[0], s[1], s[2]); }

void launch_named(const std::string& name, const Size& grid, const Size& block, const Size& cluster,
                  size_t shared, bool cooperative, std::uintptr_t stream,
                  const std::array<std::uintptr_t, 6>& arrays,
                  const std::array<int64_t, 4>& numbers) {
    Arguments arguments = {};
    for (size_t i = 0; i < arrays.size(); i++)
        arguments.arrays[i] = reinterpret_cast<void*>(arrays[i]);
    for (size_t i = 0; i < numbers.size(); i++) arguments.numbers[i] = numbers[i];
    launch(name, all().at(name), {0, reinterpret_cast<cudaStream_t>(stream)},
           {size(grid), size(block), shared, size(cluster), cooperative}, arguments);
}

}  // namespace

PYBIND11_MODULE(_kernels, m) {
    m.def("launch", &launch_named);
    m.def("names", [] {
        std::vector<std::string> names;
        for (const auto& [name, kernel] : all()) names.push_back(name);
        return names;
    });
}
