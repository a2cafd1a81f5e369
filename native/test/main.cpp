// SPDX-License-Identifier: Apache-2.0
// Runs the tests against the library this program is linked with, on a processor that has it.
#include <gtest/gtest.h>

#include <cstdio>
#include <string>

#include "ponder.h"
#include "processor.h"

namespace {

constexpr int kSkipped = 77;  // the exit code CTest reads as "skipped"

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
