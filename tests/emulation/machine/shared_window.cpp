#include "shared_window.h"

#include <cstring>

namespace emulated {

namespace {

void swap_in(char* contents, Block* block) {
    char* now = grid->in_window ? grid->in_window->shared : grid->host_window.data();
    std::memcpy(now, grid->static_window, grid->static_bytes);
    std::memcpy(grid->static_window, contents, grid->static_bytes);
    grid->in_window = block;
}

}  // namespace

void enter_block(Block& block) {
    if (grid->static_bytes && grid->in_window != &block) swap_in(block.shared, &block);
}
void enter_host() {
    if (grid->in_window) swap_in(grid->host_window.data(), nullptr);
}

char* home(const void* address) {
    const size_t offset = uintptr_t(address) - uintptr_t(grid->static_window);
    if (offset < grid->static_bytes && grid->in_window) return grid->in_window->shared + offset;
    return static_cast<char*>(const_cast<void*>(address));
}

char* here(const void* home) {
    const Block* block = grid->in_window;
    const size_t offset = block ? uintptr_t(home) - uintptr_t(block->shared) : SIZE_MAX;
    if (offset < grid->static_bytes) return grid->static_window + offset;
    return static_cast<char*>(const_cast<void*>(home));
}

}  // namespace emulated
