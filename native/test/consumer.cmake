# SPDX-License-Identifier: Apache-2.0
# Installs BUILD under a prefix, moves the prefix, and builds and runs the plain-C consumer in
# SOURCE against it: WAY package is find_package(Ponder), WAY pkg-config is the .pc file.
set(work ${BUILD}/consumer-${WAY})
file(REMOVE_RECURSE ${work})
execute_process(COMMAND ${CMAKE_COMMAND} --install ${BUILD} --prefix ${work}/first
                OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
file(RENAME ${work}/first ${work}/moved)

set(program ${work}/build/consumer)
if(WAY STREQUAL package)
  execute_process(COMMAND ${CMAKE_COMMAND} -S ${SOURCE} -B ${work}/build -G ${GENERATOR}
                          -DCMAKE_PREFIX_PATH=${work}/moved -DCMAKE_C_COMPILER=${CC}
                          -DCMAKE_C_FLAGS=-Wall\ -Wextra\ -Werror\ -pedantic
                  OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
  execute_process(COMMAND ${CMAKE_COMMAND} --build ${work}/build COMMAND_ERROR_IS_FATAL ANY)
else()
  file(GLOB_RECURSE description ${work}/moved/ponder.pc)
  get_filename_component(description ${description} DIRECTORY)
  set(ENV{PKG_CONFIG_PATH} ${description})
  execute_process(COMMAND pkg-config --cflags --libs ponder OUTPUT_VARIABLE flags
                  OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  execute_process(COMMAND pkg-config --variable=libdir ponder OUTPUT_VARIABLE libdir
                  OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  separate_arguments(flags UNIX_COMMAND "${flags}")
  file(MAKE_DIRECTORY ${work}/build)
  execute_process(COMMAND ${CC} -std=c11 -Wall -Wextra -Werror -pedantic ${SOURCE}/main.c
                          ${flags} -Wl,-rpath,${libdir} -o ${program}
                  COMMAND_ERROR_IS_FATAL ANY)
endif()
execute_process(COMMAND ${program} OUTPUT_VARIABLE said COMMAND_ERROR_IS_FATAL ANY)
if(NOT said STREQUAL "cpu base: 58 64 139 154\n")
  message(FATAL_ERROR "the consumer said: ${said}")
endif()
