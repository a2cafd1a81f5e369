# SPDX-License-Identifier: Apache-2.0
# Compares what LIBRARY exports with the functions of HEADER, and what it needs with the C library.
file(STRINGS ${HEADER} declarations REGEX "^PND_API int32_t pnd_")
list(TRANSFORM declarations REPLACE "^PND_API int32_t (pnd_[a-z0-9_]+).*" "\\1")
list(LENGTH declarations count)
if(count LESS 10)
  message(FATAL_ERROR "Only ${count} declarations were read from ${HEADER}.")
endif()

execute_process(COMMAND ${NM} -D --defined-only ${LIBRARY}
                OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "[^ \n]+\n" symbols "${symbols}")
list(TRANSFORM symbols STRIP)

set(missing ${declarations})
list(REMOVE_ITEM missing ${symbols})
set(extra ${symbols})
list(REMOVE_ITEM extra ${declarations})
if(missing OR extra)
  message(FATAL_ERROR "${LIBRARY}\n  lacks: ${missing}\n  exports beyond the header: ${extra}")
endif()

execute_process(COMMAND ${OBJDUMP} -p ${LIBRARY}
                OUTPUT_VARIABLE headers COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "NEEDED +[^\n]+" needed "${headers}")
list(TRANSFORM needed REPLACE "NEEDED +" "")
list(FILTER needed EXCLUDE REGEX "^(libc|libm|libpthread|ld-linux[a-z0-9-]*)\\.so")
if(needed AND NOT SANITIZE)
  message(FATAL_ERROR "${LIBRARY} needs more than the C library: ${needed}")
endif()
message(STATUS "${count} functions")
