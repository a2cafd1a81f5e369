// SPDX-License-Identifier: Apache-2.0
// A CUDA driver of two devices that computes nothing: what the Java tests list. Variables of the
// environment choose what it answers: FAKE_CUDA_INIT the status of cuInit, FAKE_CUDA_COUNT how many
// devices there are.
#include <cstddef>
#include <cstdio>
#include <cstdlib>

namespace {

constexpr int invalid_value = 1, not_initialized = 3, invalid_device = 101;

int number(const char *variable, int otherwise) {
  const char *const text = std::getenv(variable);
  return text == nullptr ? otherwise : std::atoi(text);
}

int count() { return number("FAKE_CUDA_COUNT", 2); }

bool initialized = false;

}  // namespace

extern "C" {

int cuDriverGetVersion(int *version) {
  *version = 13010;
  return 0;
}

int cuInit(unsigned) {
  const int status = number("FAKE_CUDA_INIT", 0);
  initialized = status == 0;
  return status;
}

int cuDeviceGetCount(int *devices) {
  if (!initialized) return not_initialized;
  *devices = count();
  return 0;
}

int cuDeviceGet(int *device, int index) {
  if (index < 0 || index >= count()) return invalid_device;
  *device = index + 40;  // a handle is not the index
  return 0;
}

int cuDeviceGetName(char *name, int capacity, int device) {
  std::snprintf(name, static_cast<size_t>(capacity), "Fake %d", device - 40);
  return 0;
}

int cuDeviceTotalMem_v2(size_t *bytes, int device) {
  *bytes = (size_t{5} << 32) + static_cast<size_t>(device - 40);
  return 0;
}

int cuDeviceGetAttribute(int *value, int attribute, int device) {
  switch (attribute) {
    case 16:  // multiprocessors
      *value = 132 - (device - 40);
      return 0;
    case 75:  // compute capability, major
      *value = 9 - (device - 40);
      return 0;
    case 76:  // minor
      *value = device - 40 == 0 ? 0 : 6;
      return 0;
    default:
      return invalid_value;
  }
}
}
