// SPDX-License-Identifier: Apache-2.0
// Runs the tests against the library this program is linked with, on a processor that has it.
#include <gtest/gtest.h>

#include <cstdio>
#include <string>

#include "ponder.h"

namespace {

constexpr int kSkipped = 77;  // the exit code CTest reads as "skipped"

bool processor_runs(const std::string &build) {
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

}  // namespace

int main(int argc, char **argv) {
  testing::InitGoogleTest(&argc, argv);
  const std::string expected = PND_BUILD_NAME;
  if (!processor_runs(expected)) {
    std::printf("skipped: this processor cannot run the build \"%s\"\n", expected.c_str());
    return kSkipped;
  }
  char build[64] = "";
  if (pnd_build(nullptr, build, sizeof build) != PND_OK || build != expected) {
    std::printf("the library calls itself \"%s\", not \"%s\"\n", build, expected.c_str());
    return 1;
  }
  return RUN_ALL_TESTS();
}
