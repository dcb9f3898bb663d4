// Choice of the instruction set, once per process.
#include "cpu.h"

#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

namespace rnn::cpu {

#define RNN_DECLARE(isa)          \
    namespace isa {               \
    extern const Kernels kernels; \
    }
RNN_DECLARE(baseline)
#ifdef RNN_X86
RNN_DECLARE(avx2)
RNN_DECLARE(avx512)
#endif
#ifdef RNN_BF16
RNN_DECLARE(avx512_bf16)
#endif

namespace {

// Best first; what this processor cannot run is left out.
std::vector<const Kernels*> runnable() {
    std::vector<const Kernels*> builds;
#ifdef RNN_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
#ifdef RNN_BF16
        if (__builtin_cpu_supports("avx512bf16")) builds.push_back(&avx512_bf16::kernels);
#endif
        builds.push_back(&avx512::kernels);
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        builds.push_back(&avx2::kernels);
#endif
    builds.push_back(&baseline::kernels);
    return builds;
}

const Kernels& choose() {
    const auto builds = runnable();
    const char* wanted = std::getenv("RNN_KERNELS_CPU_ISA");
    if (!wanted || !*wanted) return *builds.front();
    std::string names;
    for (const Kernels* build : builds) {
        if (std::string(build->isa) == wanted) return *build;
        if (!names.empty()) names += ", ";
        names += build->isa;
    }
    throw std::runtime_error("RNN_KERNELS_CPU_ISA=" + std::string(wanted) +
                             " is not one that this processor runs: " + names);
}

}  // namespace

const Kernels& kernels() {
    static const Kernels& chosen = choose();
    return chosen;
}

const Kernels& kernels(Dtype dtype) {
    const Kernels& chosen = kernels();
#ifdef RNN_BF16
    // Instructions for bfloat16 change nothing for other dtypes, so they are not compiled twice.
    if (&chosen == &avx512_bf16::kernels && dtype != Dtype::bf16) return avx512::kernels;
#else
    (void)dtype;
#endif
    return chosen;
}

}  // namespace rnn::cpu
