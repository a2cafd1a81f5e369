// SPDX-License-Identifier: Apache-2.0
// A CUDA driver of two devices that computes nothing: what the Java tests list and time. Variables
// of the environment choose what it answers: FAKE_CUDA_INIT the status of cuInit, FAKE_CUDA_COUNT
// how many devices there are, FAKE_CUDA_EVENT the status of cuEventRecord. Its clock goes on by 1.5
// ms with each event that is recorded; what needs a context is refused without one, and what is not
// given back is on stderr at the end.
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <set>
#include <vector>

namespace {

constexpr int invalid_value = 1, not_initialized = 3, invalid_device = 101, invalid_context = 201,
              invalid_handle = 400, not_ready = 600;

int number(const char *variable, int otherwise) {
  const char *const text = std::getenv(variable);
  return text == nullptr ? otherwise : std::atoi(text);
}

int count() { return number("FAKE_CUDA_COUNT", 2); }

bool initialized = false;

struct Context {
  int device;
  int retained;
};
struct Event {
  void *stream;
  int tick;
};

std::vector<Context *> current;  // the last is the one in use
Context contexts[2] = {{40, 0}, {41, 0}};
std::set<Event *> events;
std::set<void *> pinned;
int ticks = 0;

// What somebody forgot.
struct Ending {
  ~Ending() {
    const int retained = contexts[0].retained + contexts[1].retained;
    if (retained != 0 || !events.empty() || !pinned.empty() || !current.empty()) {
      std::fprintf(stderr, "not given back: %d contexts, %zu events, %zu pinned, %zu pushed\n",
                   retained, events.size(), pinned.size(), current.size());
    }
  }
} ending;

bool in_context() { return !current.empty() && current.back()->retained > 0; }

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

int cuDevicePrimaryCtxRetain(Context **context, int device) {
  *context = &contexts[device - 40];
  ++(*context)->retained;
  return 0;
}

int cuDevicePrimaryCtxRelease_v2(int device) {
  return contexts[device - 40].retained-- > 0 ? 0 : invalid_context;
}

int cuCtxPushCurrent_v2(Context *context) {
  if (context == nullptr || context->retained < 1) return invalid_context;
  current.push_back(context);
  return 0;
}

int cuCtxPopCurrent_v2(Context **context) {
  if (current.empty()) return invalid_context;
  *context = current.back();
  current.pop_back();
  return 0;
}

int cuMemGetInfo_v2(size_t *free, size_t *total) {
  if (!in_context()) return invalid_context;
  *total = size_t{5} << 32;
  *free = (size_t{3} << 32) + static_cast<size_t>(current.back()->device - 40);
  return 0;
}

int cuMemHostAlloc(void **memory, size_t bytes, unsigned) {
  if (!in_context()) return invalid_context;
  *memory = std::malloc(bytes);
  pinned.insert(*memory);
  return 0;
}

int cuMemFreeHost(void *memory) {
  if (!in_context()) return invalid_context;
  if (pinned.erase(memory) == 0) return invalid_value;
  std::free(memory);
  return 0;
}

int cuEventCreate(Event **event, unsigned) {
  if (!in_context()) return invalid_context;
  *event = new Event{nullptr, 0};
  events.insert(*event);
  return 0;
}

int cuEventRecord(Event *event, void *stream) {
  if (!in_context()) return invalid_context;
  if (events.count(event) == 0 || stream == nullptr) return invalid_handle;
  if (const int status = number("FAKE_CUDA_EVENT", 0)) return status;
  *event = {stream, ++ticks};
  return 0;
}

int cuEventSynchronize(Event *event) {
  if (!in_context()) return invalid_context;
  return events.count(event) == 0 ? invalid_handle : 0;
}

int cuEventElapsedTime(float *milliseconds, Event *start, Event *stop) {
  if (!in_context()) return invalid_context;
  if (start->tick == 0 || stop->tick == 0 || start->stream != stop->stream) return not_ready;
  *milliseconds = 1.5f * static_cast<float>(stop->tick - start->tick);
  return 0;
}

int cuEventDestroy_v2(Event *event) {
  if (events.erase(event) == 0) return invalid_handle;
  delete event;
  return 0;
}
}
