// SPDX-License-Identifier: Apache-2.0
// call: argument checks, and what every library says about itself and a context.
#include "call.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

thread_local char orphan_message[512] = "";

Call::Call(Caller *context, const char *name) : context_(context), name_(name) {
  if (context == nullptr) {
    refuse(PND_BAD_ARGUMENT, "context is null");
  } else if (context->busy.exchange(true, std::memory_order_acquire)) {
    // The message belongs to the call that is running: leave it alone.
    context_ = nullptr;
    refuse(PND_BAD_ARGUMENT, "the context is in use by another thread");
  } else {
    holds_ = true;
    if (context->failed && std::strcmp(name, "close") != 0) {
      refuse(PND_DEVICE_FAILED, "an earlier call failed on the device: open another context");
    }
  }
}

Call::~Call() {
  if (holds_) context_->busy.store(false, std::memory_order_release);
}

static void write_message(char (&text)[512], const char *name, const char *format, va_list values) {
  const int n = std::snprintf(text, sizeof text, "%s: ", name);
  std::vsnprintf(text + n, sizeof text - n, format, values);
}

int32_t refuse_open(int32_t status, const char *format, ...) {
  va_list values;
  va_start(values, format);
  write_message(orphan_message, "open", format, values);
  va_end(values);
  return status;
}

void Call::refuse_with(int32_t status, const char *format, va_list values) {
  if (status_ != PND_OK) return;
  status_ = status;
  write_message(context_ == nullptr ? orphan_message : context_->message, name_, format, values);
}

Call &Call::refuse(int32_t status, const char *format, ...) {
  va_list values;
  va_start(values, format);
  refuse_with(status, format, values);
  va_end(values);
  return *this;
}

Call &Call::require(bool holds, const char *format, ...) {
  if (holds) return *this;
  va_list values;
  va_start(values, format);
  refuse_with(PND_BAD_ARGUMENT, format, values);
  va_end(values);
  return *this;
}

int64_t bytes_of(int32_t dtype) { return dtype == PND_F64 ? 8 : dtype == PND_BF16 ? 2 : 4; }

Call &Call::dtype(int32_t dtype) {
  if (dtype == PND_BF16) {
    return refuse(PND_UNSUPPORTED, "dtype bf16 is for storage and products: cast to f32 first");
  }
  return float_dtype("dtype", dtype);
}

Call &Call::float_dtype(const char *name, int32_t dtype) {
  if (dtype == PND_I32) return refuse(PND_UNSUPPORTED, "%s i32 holds indices only", name);
  return known_dtype(name, dtype);
}

Call &Call::any_dtype(int32_t dtype) { return known_dtype("dtype", dtype); }

Call &Call::known_dtype(const char *name, int32_t dtype) {
  if (dtype < PND_F32 || dtype > PND_BF16) {
    return refuse(PND_BAD_ARGUMENT, "%s = %d is none of f32 (0), f64 (1), i32 (2), bf16 (3)", name,
                  dtype);
  }
  element_bytes_ = bytes_of(dtype);
  return *this;
}

Call &Call::size(const char *name, int64_t value) {
  return require(value >= 1, "%s = %lld must be at least 1", name, static_cast<long long>(value));
}

Call &Call::range(const char *name, int64_t value, int64_t low, int64_t high) {
  return require(value >= low && value <= high, "%s = %lld must lie in [%lld, %lld]", name,
                 static_cast<long long>(value), static_cast<long long>(low),
                 static_cast<long long>(high));
}

Call &Call::output(const char *name, const void *array, std::initializer_list<int64_t> sizes,
                   int64_t element_bytes) {
  return require(array != nullptr, "%s is null", name)
      .array(name, array, sizes, element_bytes, true);
}

Call &Call::input(const char *name, const void *array, std::initializer_list<int64_t> sizes,
                  int64_t element_bytes) {
  return require(array != nullptr, "%s is null", name)
      .array(name, array, sizes, element_bytes, false);
}

Call &Call::nullable_output(const char *name, const void *array,
                            std::initializer_list<int64_t> sizes, int64_t element_bytes) {
  return array == nullptr ? *this : this->array(name, array, sizes, element_bytes, true);
}

Call &Call::nullable_input(const char *name, const void *array,
                           std::initializer_list<int64_t> sizes, int64_t element_bytes) {
  return array == nullptr ? *this : this->array(name, array, sizes, element_bytes, false);
}

Call &Call::array(const char *name, const void *array, std::initializer_list<int64_t> sizes,
                  int64_t element_bytes, bool writes) {
  if (refused()) return *this;
  if (element_bytes == 0) element_bytes = element_bytes_;
  int64_t bytes = element_bytes;
  for (int64_t size : sizes) {
    if (size < 1) return require(false, "a size of %s is %lld", name, static_cast<long long>(size));
    if (__builtin_mul_overflow(bytes, size, &bytes)) {
      return require(false, "the size of %s overflows", name);
    }
  }
  const auto first = reinterpret_cast<uintptr_t>(array);
  if (first % static_cast<uintptr_t>(element_bytes) != 0) {
    return require(false, "%s is not aligned to %lld bytes", name,
                   static_cast<long long>(element_bytes));
  }
  uintptr_t last;
  if (__builtin_add_overflow(first, static_cast<uintptr_t>(bytes), &last)) {
    return require(false, "the size of %s overflows", name);
  }
  for (int i = 0; i < ranges_; ++i) {
    const Range &other = range_[i];
    if ((writes || other.writes) && first < other.last && other.first < last) {
      return require(false, "%s overlaps %s", name, other.name);
    }
  }
  if (ranges_ == kMostArrays) return refuse(PND_BAD_ARGUMENT, "more than %d arrays", kMostArrays);
  range_[ranges_++] = {name, first, last, writes};
  return *this;
}

int32_t read_message(Caller *context, char *text, int64_t capacity) {
  if (text == nullptr || capacity < 1) return PND_BAD_ARGUMENT;
  const bool other = context == nullptr || context->busy.load(std::memory_order_acquire);
  const char *message = other ? orphan_message : context->message;
  const auto n = std::min(static_cast<size_t>(capacity - 1), std::strlen(message));
  std::memcpy(text, message, n);
  text[n] = '\0';
  return PND_OK;
}

int32_t read_abi_version(int32_t *version) {
  if (version == nullptr || reinterpret_cast<uintptr_t>(version) % sizeof *version != 0) {
    return PND_BAD_ARGUMENT;
  }
  *version = PND_ABI_VERSION;
  return PND_OK;
}

int32_t read_build(char *text, int64_t capacity) {
  if (text == nullptr || capacity < 1) return PND_BAD_ARGUMENT;
  std::snprintf(text, static_cast<size_t>(capacity), "%s", PND_BUILD_NAME);
  return PND_OK;
}

int32_t read_memory(Caller *context, int64_t *used, int64_t *peak, int64_t *limit) {
  Call call(context, "memory");
  call.output("used", used, {1}, sizeof *used)
      .output("peak", peak, {1}, sizeof *peak)
      .output("limit", limit, {1}, sizeof *limit);
  if (call.refused()) return call.status();
  *used = context->used;
  *peak = context->peak;
  *limit = context->limit;
  return PND_OK;
}
