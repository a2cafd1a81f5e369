// SPDX-License-Identifier: Apache-2.0
// call: the checks that stand before every kernel, the same in every library. A function of the
// header reads: Call (names the function, marks the context busy), its guard, scratch memory, work,
// PND_OK.
// guards/<stem>.h has the guards of the functions in <stem>.cpp and <stem>.cu. One guard per
// function, or per family with equal arguments: the call, then the header's parameters in the
// header's order (a family takes those it checks). No array is read there, it may lie on a device:
// index values, lengths and step are checked by whoever reads them.
#pragma once

#include <atomic>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <type_traits>

#include "ponder.h"

constexpr int64_t kAlignment = 64;

// What a context of any library has: who uses it, whether its device has failed (then only close is
// served), its memory, the last refusal.
struct Caller {
  std::atomic<bool> busy;
  bool failed;
  int64_t limit;
  int64_t used;
  int64_t peak;
  char message[512];
};

// The size of an element of a known type.
int64_t bytes_of(int32_t dtype);
// Of what is computed from a type and not rounded to it.
inline int64_t bytes_of_sum(int32_t dtype) { return dtype == PND_F64 ? 8 : 4; }

// The last failure of a call that had no context.
extern thread_local char orphan_message[512];
// What pnd_open, which has no context yet, says and returns when it fails, printf-style.
int32_t refuse_open(int32_t status, const char *format, ...) __attribute__((format(printf, 2, 3)));

// The checks of one call. Each check keeps the first refusal; the context is free again when the
// call's object goes.
class Call {
 public:
  Call(Caller *context, const char *name);
  ~Call();
  Call(const Call &) = delete;
  Call &operator=(const Call &) = delete;

  // The element type: f32 or f64, one of these or bf16 (by its name), or any type.
  Call &dtype(int32_t dtype);
  Call &float_dtype(const char *name, int32_t dtype);
  Call &any_dtype(int32_t dtype);
  // A size is at least 1; a value lies in [low, high].
  Call &size(const char *name, int64_t value);
  Call &range(const char *name, int64_t value, int64_t low, int64_t high);
  // Arrays of the call's dtype, or of element_bytes each, with the product of sizes elements.
  Call &output(const char *name, const void *array, std::initializer_list<int64_t> sizes,
               int64_t element_bytes = 0);
  Call &input(const char *name, const void *array, std::initializer_list<int64_t> sizes,
              int64_t element_bytes = 0);
  Call &nullable_output(const char *name, const void *array, std::initializer_list<int64_t> sizes,
                        int64_t element_bytes = 0);
  Call &nullable_input(const char *name, const void *array, std::initializer_list<int64_t> sizes,
                       int64_t element_bytes = 0);
  // Index values, read: each in [low, high). For CPU libraries; CUDA kernels check what they read.
  Call &indices(const char *name, const int32_t *index, int64_t count, int64_t low, int64_t high);
  // Likewise: rises from 0 to `total` in `segments` steps, some of which may be 0.
  Call &starts(const char *name, const int32_t *starts, int64_t segments, int64_t total);
  // Any other rule, printf-style.
  Call &require(bool holds, const char *format, ...) __attribute__((format(printf, 3, 4)));

  // Another failure, printf-style. The first refusal stands.
  Call &refuse(int32_t status, const char *format, ...) __attribute__((format(printf, 3, 4)));

  // Scratch of at least that many bytes per thread and that many shared ones; a CUDA library has
  // shared ones alone.
  Call &reserve(int64_t bytes_per_thread, int64_t shared_bytes = 0);

  bool refused() const { return status_ != PND_OK; }
  int32_t status() const { return status_; }

 private:
  void refuse_with(int32_t status, const char *format, va_list values);
  Call &known_dtype(const char *name, int32_t dtype);
  Call &array(const char *name, const void *array, std::initializer_list<int64_t> sizes,
              int64_t element_bytes, bool writes);

  static constexpr int kMostArrays = 40;
  struct Range {
    const char *name;
    uintptr_t first, last;
    bool writes;
  };
  Caller *context_;
  const char *name_;
  int32_t status_ = PND_OK;
  int64_t element_bytes_ = 0;
  bool holds_ = false;
  int ranges_ = 0;
  Range range_[kMostArrays];
};

// Runs f(float{}) or f(double{}), whichever the type is computed in, and returns its status; one
// that returns nothing cannot fail.
template <class F>
inline int32_t by_type(int32_t dtype, F &&f) {
  if constexpr (std::is_void_v<decltype(f(float{}))>) {
    dtype == PND_F64 ? f(double{}) : f(float{});
    return PND_OK;
  } else {
    return dtype == PND_F64 ? f(double{}) : f(float{});
  }
}

// What pnd_message, pnd_abi_version, pnd_build and pnd_memory answer.
int32_t read_message(Caller *context, char *text, int64_t capacity);
int32_t read_abi_version(int32_t *version);
int32_t read_build(char *text, int64_t capacity);
int32_t read_memory(Caller *context, int64_t *used, int64_t *peak, int64_t *limit);
