// SPDX-License-Identifier: Apache-2.0
// bf16: numbers of that type in the tests, and arrays that begin where a test wants them to.
#pragma once

#include "machines.h"

// The upper half of a float.
struct Bf16 {
  uint16_t bits = 0;

  Bf16() = default;
  // Rounded to nearest, halves to even; what is too large becomes infinity.
  explicit Bf16(double x) {
    const auto near = static_cast<float>(x);
    uint32_t all;
    std::memcpy(&all, &near, sizeof all);
    bits = static_cast<uint16_t>(near == near ? (all + 0x7fff + (all >> 16 & 1)) >> 16 : 0x7fff);
  }
  operator float() const {
    const uint32_t all = uint32_t{bits} << 16;
    float x;
    std::memcpy(&x, &all, sizeof x);
    return x;
  }
};

using StoredTypes = testing::Types<float, double, Bf16>;

// What sums of a stored type, and what is added to them, are stored as.
template <class S>
using SumOf = std::conditional_t<std::is_same_v<S, Bf16>, float, S>;

template <class S>
constexpr int32_t stored_type() {
  return std::is_same_v<S, Bf16> ? PND_BF16 : type_of<S>();
}
template <class S>
std::vector<S> random_stored(int64_t n, uint32_t seed, double scale = 1) {
  std::vector<S> x;
  for (double v : random_data<double>(n, seed)) x.push_back(S(v * scale));
  return x;
}

inline std::vector<Bf16> random_bf16(int64_t n, uint32_t seed) {
  std::vector<Bf16> x;
  for (float v : random_data<float>(n, seed)) x.emplace_back(v);
  return x;
}

// n elements that begin `shift` elements past a multiple of 64 bytes, and guards around them that
// must survive and hold NaN for who reads them. Without values: NaN.
template <class T>
class Placed {
 public:
  Placed(int64_t n, int64_t shift)
      : n_(n), shift_(shift), words_((n + shift) * sizeof(T) / 64 + 4) {
    std::memset(static_cast<void *>(words_.data()), 0xff, words_.size() * sizeof(Line));
  }
  Placed(const std::vector<T> &values, int64_t shift)
      : Placed(static_cast<int64_t>(values.size()), shift) {
    std::copy(values.begin(), values.end(), data());
  }
  T *data() { return reinterpret_cast<T *>(words_.data() + 1) + shift_; }
  // Null for no elements.
  const T *data_or_null() { return n_ == 0 ? nullptr : data(); }
  std::vector<T> values() { return std::vector<T>(data(), data() + n_); }
  bool guarded() {
    const auto *bytes = reinterpret_cast<const uint8_t *>(words_.data());
    const auto *first = reinterpret_cast<const uint8_t *>(data());
    const auto *last = reinterpret_cast<const uint8_t *>(data() + n_);
    const auto marked = [](uint8_t byte) { return byte == 0xff; };
    return std::all_of(bytes, first, marked) &&
           std::all_of(last, bytes + words_.size() * sizeof(Line), marked);
  }

 private:
  struct alignas(64) Line {
    uint8_t byte[64];
  };
  int64_t n_, shift_;
  std::vector<Line> words_;
};

// The machines of the library under test, which must agree in every bit. (Other builds need not:
// the promise is for f32 and f64.)
inline std::vector<Machine> own_machines() {
  std::vector<Machine> own;
  for (const Machine &m : machines()) {
    if (m.library == nullptr) own.push_back(m);
  }
  return own;
}

// Takes the results of the first machine, and expects those of the next ones to be the same.
template <class T>
void keep_or_compare(std::vector<T> &kept, Placed<T> &got, const Machine &machine) {
  EXPECT_TRUE(got.guarded()) << machine.name << " wrote beyond an output";
  if (kept.empty()) {
    kept = got.values();
    return;
  }
  SCOPED_TRACE(machine.name);
  expect_equal(got.values(), kept);
}

inline void expect_done(int32_t status, const Machine &machine) {
  EXPECT_EQ(PND_OK, status) << machine.name << ": " << message_of(machine);
  EXPECT_EQ(PND_OK, machine.function("pnd_synchronize", &pnd_synchronize)(machine.context))
      << machine.name << ": " << message_of(machine);
}
