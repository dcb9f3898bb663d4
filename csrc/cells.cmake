# A cell is a header in csrc/cells, named as the cell is. What else it needs is made here, in the
# build folder: <all_cells.h>, and sources that instantiate kernels for it. A header that comes, goes
# or changes makes CMake run again.
set(RNN_GENERATED ${CMAKE_CURRENT_BINARY_DIR}/generated)
file(GLOB RNN_CELL_HEADERS CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/cells/*.h)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${RNN_CELL_HEADERS})

# The struct in a cell's header.
function(rnn_struct_of header struct)
  file(STRINGS ${header} found REGEX "^struct [A-Za-z0-9_]+ {$")
  list(LENGTH found number)
  if(NOT number EQUAL 1)
    message(FATAL_ERROR "${header} should have one line 'struct Name {', the cell")
  endif()
  string(REGEX REPLACE "^struct (.*) {$" "\\1" found "${found}")
  set(${struct} ${found} PARENT_SCOPE)
endfunction()

# Sources from one template, of each cell and kind, or of each cell alone: of gates.cu.in
# gates_lstm.cu, of recurrence.cu.in recurrence_lstm_grid.cu. The template has @HEADER@, @STRUCT@ and
# @KIND@.
function(rnn_instantiate sources template)
  get_filename_component(stem ${template} NAME_WE)
  foreach(HEADER IN LISTS RNN_CELL_HEADERS)
    rnn_struct_of(${HEADER} STRUCT)
    get_filename_component(cell ${HEADER} NAME_WE)
    if(NOT ARGN)
      configure_file(${template} ${RNN_GENERATED}/${stem}_${cell}.cu @ONLY)
      list(APPEND made ${RNN_GENERATED}/${stem}_${cell}.cu)
    endif()
    foreach(KIND IN LISTS ARGN)
      configure_file(${template} ${RNN_GENERATED}/${stem}_${cell}_${KIND}.cu @ONLY)
      list(APPEND made ${RNN_GENERATED}/${stem}_${cell}_${KIND}.cu)
    endforeach()
  endforeach()
  set(${sources} ${made} PARENT_SCOPE)
endfunction()

# All of them, for the code that asks for a cell by its name.
function(rnn_list_cells)
  foreach(header IN LISTS RNN_CELL_HEADERS)
    rnn_struct_of(${header} struct)
    get_filename_component(cell ${header} NAME_WE)
    list(APPEND structs ${struct})
    string(APPEND includes "#include \"${header}\"\n")
    string(APPEND checks "static_assert(std::string_view(${struct}::name) == \"${cell}\");\n")
  endforeach()
  list(JOIN structs ", " structs)
  file(CONFIGURE OUTPUT ${RNN_GENERATED}/all_cells.h @ONLY CONTENT
       "// Made by csrc/cells.cmake.
#pragma once

#include <string_view>

${includes}
namespace rnn {

using AllCells = Cells<${structs}>;
${checks}
}  // namespace rnn
")
endfunction()

rnn_list_cells()
