# SPDX-License-Identifier: Apache-2.0
# Writes one line per function of the header: FUNCTION(pnd_fill, "dtype", "y", "n", "value").
# The context is left out, and so is pnd_open, which has none yet.
# Use: cmake -DHEADER=ponder.h -DOUTPUT=functions.inc -P functions.cmake
file(READ "${HEADER}" text)
# A list of CMake ends its items with semicolons; the header's own mark the end of declarations.
string(REPLACE ";" "@" text "${text}")
string(REGEX MATCHALL "PND_API int32_t pnd_[a-z0-9_]+\\([^)]*\\)@" declarations "${text}")
set(lines "")
foreach(declaration IN LISTS declarations)
  string(REGEX MATCH "(pnd_[a-z0-9_]+)\\(([^)]*)\\)" whole "${declaration}")
  set(name ${CMAKE_MATCH_1})
  string(REPLACE "," ";" parameters "${CMAKE_MATCH_2}")
  if(name STREQUAL "pnd_open")
    continue()
  endif()
  set(line "FUNCTION(${name}")
  list(REMOVE_AT parameters 0)
  foreach(parameter IN LISTS parameters)
    string(REGEX MATCH "[A-Za-z0-9_]+$" word "${parameter}")
    string(APPEND line ", \"${word}\"")
  endforeach()
  string(APPEND lines "${line})\n")
endforeach()
file(WRITE "${OUTPUT}" "${lines}")
