# SPDX-License-Identifier: Apache-2.0
# Runs CHECK with PYTHON on LIBRARY, the simulator, and a few of the TAPES, in the directory WORK.
# An nvidia-smi of this test's own names a device, or says that there is none.
set(some ${WORK}/tapes)
set(ENV{PATH} "${WORK}/bin:$ENV{PATH}")
file(REMOVE_RECURSE ${WORK}/out ${some} ${WORK}/bin)
file(MAKE_DIRECTORY ${some})

# nvidia_smi(script): what stands in for NVIDIA's program.
function(nvidia_smi script)
  file(WRITE ${WORK}/bin/nvidia-smi "#!/bin/sh\n${script}\n")
  file(CHMOD ${WORK}/bin/nvidia-smi PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE)
endfunction()

# check(code text): a run must end with that code and print that text.
function(check code text)
  execute_process(COMMAND ${PYTHON} ${CHECK} --quick --library ${LIBRARY} --tapes ${some}
                          --out ${WORK}/out --build ${WORK}/tree
                  OUTPUT_VARIABLE output ERROR_VARIABLE output RESULT_VARIABLE result)
  if(NOT result STREQUAL code OR NOT output MATCHES "${text}")
    message(FATAL_ERROR "Expected exit code ${code} and \"${text}\", got ${result} and:\n${output}")
  endif()
endfunction()

nvidia_smi("echo No devices were found; exit 6")
check(2 "^cuda/check: there is no CUDA device: [^\n]*No devices were found\n$")

nvidia_smi("echo Simulated, 580.0, 9.0")
check(1 "no tapes in ")

foreach(name add cross_entropy gru matmul)
  if(NOT EXISTS ${TAPES}/${name}.tape)
    message(STATUS "skipped: no ${name}.tape in ${TAPES}; the Java tests write it")
    return()
  endif()
  file(COPY ${TAPES}/${name}.tape DESTINATION ${some})
endforeach()
check(0 "replay: [^\n]* 4 tapes, [1-9][0-9]* calls: passed.*repeat: [^\n]*: passed")
file(READ ${WORK}/out/check.json json)
string(JSON device GET "${json}" device)
string(JSON result GET "${json}" result)
if(NOT "${device} ${result}" STREQUAL "Simulated passed")
  message(FATAL_ERROR "check.json says: ${json}")
endif()

file(WRITE ${some}/broken.tape "no tape")
check(1 "1 failed[^\n]*\nreplay: broken.tape by itself: 1 failed; is no call tape, exit code 1: failed")
