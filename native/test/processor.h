// SPDX-License-Identifier: Apache-2.0
// processor.h: whether this processor has what a build of the library needs.
#pragma once

#include <string>

inline bool processor_runs(const std::string &build) {
#if defined(__x86_64__)
  bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
            __builtin_cpu_supports("bmi2");
  if (build == "cpu v3") return v3;
  if (build == "cpu v4")
    return v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bf16");
#endif
  return build == "cpu base" || build == "cuda simulated";
}
