// Cells by their names.
#pragma once

#include <all_cells.h>  // made by cells.cmake: AllCells, of every header in cells/

#include <cstring>

#include "arguments/names.h"

namespace rnn {

template <class F, Cell... C>
void with_cell(const char* name, const F& f, Cells<C...>) {
    const bool found =
        ((std::strcmp(name, C::name) == 0 && (f.template operator()<C>(), true)) || ...);
    if (!found) unknown_cell(name);
}

// Calls f.template operator()<C>() with the cell of that name. Throws std::invalid_argument where
// there is none.
template <class F>
void with_cell(const char* name, const F& f) {
    with_cell(name, f, AllCells());
}

}  // namespace rnn
