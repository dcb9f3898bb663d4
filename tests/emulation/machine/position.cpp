// Asks addr2line, of binutils, which every g++ comes with.
#include <dlfcn.h>

#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "fault.h"

namespace emulated {
namespace {

std::string ask(const char* library, uintptr_t offset) {
    char command[4352];
    std::snprintf(command, sizeof(command), "addr2line -i -s -e '%s' %#zx 2>/dev/null", library,
                  size_t(offset));
    FILE* answer = popen(command, "r");
    std::vector<std::string> lines;
    for (char line[512]; answer && std::fgets(line, sizeof(line), answer);) {
        std::string text = line;
        text.erase(text.find_last_not_of("\n") + 1);
        text = text.substr(0, text.find(" (discriminator"));
        if (text.rfind("??", 0) != 0) lines.push_back(text);
    }
    if (answer) pclose(answer);
    std::string chain;
    for (const std::string& line : lines) chain += (chain.empty() ? "" : " < ") + line;
    return chain;
}

}  // namespace

std::string position(const void* site) {
    static std::map<const void*, std::string> known;
    auto [found, fresh] = known.try_emplace(site);
    if (!fresh) return found->second;
    Dl_info module;
    if (!site || !dladdr(site, &module)) return found->second = "somewhere";
    // A return address: the call lies before it.
    const uintptr_t offset = uintptr_t(site) - uintptr_t(module.dli_fbase) - 1;
    const std::string lines = ask(module.dli_fname, offset);
    if (!lines.empty()) return found->second = lines;
    char text[64];
    std::snprintf(text, sizeof(text), "offset %#zx", size_t(offset));
    return found->second = text;
}

}  // namespace emulated
