# SPDX-License-Identifier: Apache-2.0
# Runs CHECK with PYTHON on LIBRARY, the simulator, and a few of the TAPES, in the directory WORK.
# An nvidia-smi of this test's own names a device, or says that there is none; LAYOUTS, the
# simulator's, stands for the device's. RESULTS is the page that a check is recorded in.
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
                          --out ${WORK}/out --build ${WORK}/tree --layouts ${LAYOUTS}
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
check(0 "layouts: [^\n]* [1-9][0-9]* cases: passed.*replay: [^\n]* 4 tapes, [1-9][0-9]* calls: passed\
.*repeat: [^\n]*: passed.*graph: [^\n]*: passed.*timings: [1-9][0-9]* figures: passed.*softmax f32")
file(READ ${WORK}/out/check.json json)
string(JSON device GET "${json}" device)
string(JSON result GET "${json}" result)
if(NOT "${device} ${result}" STREQUAL "Simulated passed")
  message(FATAL_ERROR "check.json says: ${json}")
endif()

# A page is brought up to a check of a device's library, of no other one.
function(record code text)
  execute_process(COMMAND ${PYTHON} ${CHECK} --out ${WORK}/out --record ${WORK}/results.md
                  ERROR_VARIABLE output RESULT_VARIABLE result)
  file(READ ${WORK}/results.md page)
  if(NOT result STREQUAL code OR NOT "${output}${page}" MATCHES "${text}")
    message(FATAL_ERROR "Expected exit code ${code} and \"${text}\", got ${result}, ${output}, and:\n${page}")
  endif()
endfunction()
configure_file(${RESULTS} ${WORK}/results.md COPYONLY)
record(2 "no device's library\n.*[|] matmul [|][^\n]* never [|] - [|]")
string(JSON json SET "${json}" build "\"cuda 13.0\"")
file(WRITE ${WORK}/out/check.json "${json}")
set(recorded "[|] matmul [|][^\n]*, small calls [|] below [|].*[|] rotary [|][^\n]* never [|] - [|]\
.*## Figures\n\nSimulated, [^\n]*\n\n[^\n]*\n[^\n]*\n[|] copy f32 [^#]*$")
record(0 "${recorded}")
record(0 "${recorded}")

# A wrong element in one lane is found; one bit of a sum is not amiss.
file(WRITE ${WORK}/bin/wrong "#!/bin/sh\n${LAYOUTS} | sed -e '/^ldmatrix_x4_trans 2 /s/[^ ]*$/12345678/' \
-e '/^mma_m16n8k16_fractions 1 /s/.$/1/'\n")
file(CHMOD ${WORK}/bin/wrong PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE)
set(LAYOUTS ${WORK}/bin/wrong)
file(WRITE ${some}/broken.tape "no tape")
check(1 "layouts: [^\n]* 1 differ: ldmatrix_x4_trans 2 .127. is 12345678[^\n]*: failed\
.* 1 failed[^\n]*\nreplay: broken.tape by itself: 1 failed; is no call tape, exit code 1: failed")
