# SPDX-License-Identifier: Apache-2.0
# Plays the call tapes in TAPES, which the Java tests write, on LIBRARY, on one thread and on two; if
# it is SIMULATED, with the device's threads in a rising order, on arrays in the device's memory as on
# a real device, recorded as well, and in a shuffled order on arrays in replay's own, where sanitizers
# see the most: the latter alone if it looks for RACES, to which neither order nor place adds any. One
# of two times the arrays are aligned, which opens other ways.
# TESTS is the library's own test program: it knows whether this processor runs the library.
file(GLOB tapes ${TAPES}/*.tape)
if(NOT tapes)
  message(STATUS "skipped: no tapes in ${TAPES}; the Java tests write them")
  return()
endif()
execute_process(COMMAND ${TESTS} --gtest_list_tests OUTPUT_QUIET RESULT_VARIABLE result)
if(result EQUAL 77)
  message(STATUS "skipped: this processor cannot run ${LIBRARY}")
  return()
endif()
if(SIMULATED)
  if(NOT RACES)
    set(ENV{PONDER_SIMULATOR_SEED} 0)
    execute_process(COMMAND ${REPLAY} --recorded --aligned --device ${LIBRARY} ${tapes}
                    COMMAND_ERROR_IS_FATAL ANY)
  endif()
  set(ENV{PONDER_SIMULATOR_SEED} 2)
  execute_process(COMMAND ${REPLAY} --host ${LIBRARY} ${tapes} COMMAND_ERROR_IS_FATAL ANY)
else()
  execute_process(COMMAND ${REPLAY} ${LIBRARY} ${tapes} COMMAND_ERROR_IS_FATAL ANY)
  execute_process(COMMAND ${REPLAY} --threads 2 --aligned ${LIBRARY} ${tapes}
                  COMMAND_ERROR_IS_FATAL ANY)
endif()
