# SPDX-License-Identifier: Apache-2.0
# Checks the layout of the C and C++ sources. Other releases of clang-format lay out differently.
set(release 14)
find_program(CLANG_FORMAT NAMES clang-format-${release} clang-format)
if(NOT CLANG_FORMAT)
  message(STATUS "skipped: clang-format ${release} is not installed")
  return()
endif()
execute_process(COMMAND ${CLANG_FORMAT} --version OUTPUT_VARIABLE version)
if(NOT version MATCHES "version ${release}\\.")
  message(STATUS "skipped: the layout is that of clang-format ${release}, found ${version}")
  return()
endif()
file(GLOB_RECURSE sources ${ROOT}/native/*.h ${ROOT}/native/*.c ${ROOT}/native/*.cpp
     ${ROOT}/cuda/*.cuh ${ROOT}/cuda/*.cu ${ROOT}/cuda/*.h ${ROOT}/cuda/*.cpp
     ${ROOT}/bench/native/*.c ${ROOT}/bench/native/*.cpp)
execute_process(COMMAND ${CLANG_FORMAT} --dry-run -Werror --style=file ${sources}
                RESULT_VARIABLE result)
if(result)
  message(FATAL_ERROR "Run: clang-format -i on the files named above")
endif()
