#include "program.h"

#include <link.h>

struct ThreadLocalIndex {
    unsigned long module, offset;
};
extern "C" void* __tls_get_addr(ThreadLocalIndex*);

namespace emulated {
namespace {

struct Search {
    uintptr_t address;
    Program found;
};

int visit(dl_phdr_info* info, size_t, void* data) {
    auto& search = *static_cast<Search*>(data);
    Program program;
    bool here = false;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const auto& part = info->dlpi_phdr[i];
        const uintptr_t begin = info->dlpi_addr + part.p_vaddr;
        if (part.p_type == PT_LOAD) {
            here |= search.address - begin < part.p_memsz;
            program.segments.push_back({begin, begin + part.p_memsz, (part.p_flags & PF_W) != 0});
        }
        if (part.p_type == PT_TLS) program.locals_bytes = part.p_memsz;
    }
    if (!here) return 0;
    ThreadLocalIndex index = {info->dlpi_tls_modid, 0};
    if (program.locals_bytes) program.locals = static_cast<char*>(__tls_get_addr(&index));
    search.found = program;
    return 1;
}

}  // namespace

Program program_of(const void* address) {
    Search search = {uintptr_t(address), {}};
    dl_iterate_phdr(visit, &search);
    return search.found;
}

}  // namespace emulated
