// SPDX-License-Identifier: Apache-2.0
// Opens libponder_cuda where no device is to be seen: it answers with a status and one sentence, as
// often as it is asked, and everything that needs a context is refused.
//   opens LIBRARY
#include <cstdlib>
#include <string>
#include <thread>

#include "functions.h"

namespace {

int failures = 0;

void expect(bool holds, const char *what) {
  if (holds) return;
  std::fprintf(stderr, "not so: %s\n", what);
  ++failures;
}

void opens(const TestLibrary &library) {
  auto *const nowhere = reinterpret_cast<pnd_context *>(&failures);
  pnd_context *context = nowhere;
  const int32_t status = library.as<decltype(&pnd_open)>("pnd_open")(&context, 0, 0, 0);
  expect(status == PND_UNSUPPORTED, "open gives PND_UNSUPPORTED");
  expect(context == nullptr, "open gives no context");
  char text[512] = "";
  expect(library.as<decltype(&pnd_message)>("pnd_message")(nullptr, text, sizeof text) == PND_OK,
         "the sentence can be read");
  const std::string sentence = text;
  std::printf("%s\n", text);
  // No driver, or no device.
  expect(sentence.rfind("open: this machine has no CUDA d", 0) == 0, "it says why");
  expect(sentence.find('\n') == std::string::npos && sentence.size() < 120, "it is one sentence");
}

}  // namespace

int main(int count, char **words) {
  if (count != 2) {
    std::fprintf(stderr, "usage: opens LIBRARY\n");
    return 2;
  }
  // A machine that has devices hides them.
  setenv("CUDA_VISIBLE_DEVICES", "-1", 1);
  const TestLibrary library(words[1]);
  char build[64] = "";
  int major = 0, minor = 0;
  expect(library.as<decltype(&pnd_build)>("pnd_build")(nullptr, build, sizeof build) == PND_OK &&
             std::sscanf(build, "cuda %d.%d", &major, &minor) == 2 && major >= 12,
         "the library is called cuda and names its toolkit");
  int32_t version = 0;
  expect(library.as<decltype(&pnd_abi_version)>("pnd_abi_version")(nullptr, &version) == PND_OK &&
             version == PND_ABI_VERSION,
         "it has this header's version");
  opens(library);
  opens(library);
  std::thread(opens, std::cref(library)).join();
  expect(library.as<decltype(&pnd_close)>("pnd_close")(nullptr) == PND_BAD_ARGUMENT,
         "closing nothing is refused");
  return failures == 0 ? 0 : 1;
}
