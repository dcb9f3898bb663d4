// Variables declared __shared__: one for each block, at one address.
//
// They are thread_local, so that they lie together, in the part of the kernel's module that belongs
// to the thread all fibres run on. Whenever another block goes on, its contents are put there.
// Elsewhere addresses are "at home": in the block's own memory.
#pragma once

#include "grid.h"

namespace emulated {

// Puts this block's contents in the window, or what the host had there.
void enter_block(Block& block);
void enter_host();

// From an address as the running block has it to the one at home, and back.
char* home(const void* address);
char* here(const void* home);

}  // namespace emulated
