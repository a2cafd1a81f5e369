// SPDX-License-Identifier: Apache-2.0
// machines: where a test runs, with what data, and how its results are judged.
// Every kernel runs on the library under test with 1, 2 and 3 threads and on the base build beside
// it, or, on the simulated device, with its threads in three orders (in one under a sanitizer); all
// must give the same bits, and write nothing but their outputs.
#pragma once

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "ponder.h"

struct Machine {
  std::string name;
  void *library;  // null: the one this program is linked with
  pnd_context *context = nullptr;

  template <class F>
  F *function(const char *symbol, F *linked) const {
    return library == nullptr ? linked : reinterpret_cast<F *>(dlsym(library, symbol));
  }
};

// Calls a function of the header on a machine.
#define PND_ON(machine, name, ...) (machine).function(#name, &name)((machine).context, __VA_ARGS__)

// What the library this program is linked with calls itself.
inline const std::string &build_name() {
  static const std::string name = [] {
    char text[64] = "";
    EXPECT_EQ(PND_OK, pnd_build(nullptr, text, sizeof text));
    return std::string(text);
  }();
  return name;
}
inline bool is_simulated() { return build_name() == "cuda simulated"; }
// Whether sums run in the orders that the header states; a CUDA library has its own.
inline bool has_header_order() { return build_name().rfind("cpu", 0) == 0; }

// Closes the contexts of the machines when the program ends.
struct Machines {
  std::vector<Machine> all;

  ~Machines() {
    for (const Machine &m : all) m.function("pnd_close", &pnd_close)(m.context);
  }
};

// Whether a sanitizer watches the libraries.
#ifdef PONDER_WATCHED
constexpr bool kWatched = true;
#else
constexpr bool kWatched = false;
#endif

inline const std::vector<Machine> &machines() {
  static const Machines machines{[] {
    std::vector<Machine> made;
    if (is_simulated()) {
      // 0 is the rising order of blocks, warps and lanes, 1 the falling one, 2 a shuffled one. The
      // device of the falling one cannot run the blocks of a launch together.
      for (const char *seed : {"0", "1", "2"}) {
        if (kWatched && *seed != '2') continue;  // a sanitizer finds its faults in any of them
        setenv("PONDER_SIMULATOR_SEED", seed, 1);
        if (*seed == '1') setenv("PONDER_SIMULATOR_APART", "", 1);
        made.push_back({std::string("seed ") + seed, nullptr});
        EXPECT_EQ(PND_OK, pnd_open(&made.back().context, 0, 1, 0));
        unsetenv("PONDER_SIMULATOR_APART");
      }
      unsetenv("PONDER_SIMULATOR_SEED");
      return made;
    }
    for (int threads = 1; threads <= 3; ++threads) {
      made.push_back({"this build, " + std::to_string(threads) + " threads", nullptr});
      EXPECT_EQ(PND_OK, pnd_open(&made.back().context, 0, threads, 0));
    }
    Dl_info here;
    if (dladdr(reinterpret_cast<void *>(&pnd_open), &here) != 0) {
      const std::string path = here.dli_fname;
      const std::string base = path.substr(0, path.rfind('/') + 1) + "libponder_cpu_base.so";
      void *library = base == path ? nullptr : dlopen(base.c_str(), RTLD_NOW | RTLD_LOCAL);
      if (library != nullptr) {
        made.push_back({"base build", library});
        Machine &m = made.back();
        EXPECT_EQ(PND_OK, m.function("pnd_open", &pnd_open)(&m.context, 0, 2, 0));
      }
    }
    return made;
  }()};
  return machines.all;
}

// The cases that a test of each type takes: all of them, but on the simulated device, where they
// take long, every second one in float and the others in double.
template <class T, class Cases>
auto shared_out(const Cases &cases) {
  std::vector<std::decay_t<decltype(*std::begin(cases))>> taken;
  size_t i = 0;
  for (const auto &one : cases) {
    if (!is_simulated() || i++ % 2 == (sizeof(T) == 8)) taken.push_back(one);
  }
  return taken;
}

inline std::string message_of(const Machine &machine) {
  char text[512];
  PND_ON(machine, pnd_message, text, sizeof text);
  return text;
}

template <class T>
constexpr int32_t type_of() {
  if constexpr (std::is_same_v<T, float>) return PND_F32;
  if constexpr (std::is_same_v<T, double>) return PND_F64;
  return PND_I32;
}

// n elements filled with NaN (all bits set), between guards that must survive; deliberately not
// aligned to a vector.
template <class T>
class Output {
 public:
  explicit Output(int64_t n) : bytes_(n * sizeof(T) + 2 * kGuard, 0xff) {
    std::fill_n(bytes_.begin(), kGuard, kMark);
    std::fill_n(bytes_.end() - kGuard, kGuard, kMark);
  }
  T *data() { return reinterpret_cast<T *>(bytes_.data() + kGuard); }
  std::vector<T> values() {
    return std::vector<T>(data(), data() + (bytes_.size() - 2 * kGuard) / sizeof(T));
  }
  bool guarded() const {
    const auto marked = [](uint8_t byte) { return byte == kMark; };
    return std::all_of(bytes_.begin(), bytes_.begin() + kGuard, marked) &&
           std::all_of(bytes_.end() - kGuard, bytes_.end(), marked);
  }

 private:
  static constexpr int64_t kGuard = 72;
  static constexpr uint8_t kMark = 0xa5;
  std::vector<uint8_t> bytes_;
};

template <class T>
bool same_bits(T a, T b) {
  if (a != a) return b != b;  // one NaN is as good as another
  return std::memcmp(&a, &b, sizeof a) == 0;
}

// Runs run(machine, outputs) on every machine and returns the outputs, which must agree in every
// bit. `starts` holds what the outputs contain before (empty: NaN).
template <class T, class Run>
std::vector<std::vector<T>> outputs_of(const std::vector<int64_t> &sizes, Run run,
                                       const std::vector<std::vector<T>> &starts = {}) {
  std::vector<std::vector<T>> result;
  for (const Machine &machine : machines()) {
    std::vector<Output<T>> outputs;
    std::vector<T *> data;
    for (int64_t size : sizes) outputs.emplace_back(size);
    for (auto &output : outputs) data.push_back(output.data());
    for (size_t i = 0; i < starts.size(); ++i) {
      std::copy(starts[i].begin(), starts[i].end(), data[i]);
    }
    EXPECT_EQ(PND_OK, run(machine, data)) << machine.name << ": " << message_of(machine);
    EXPECT_EQ(PND_OK, machine.function("pnd_synchronize", &pnd_synchronize)(machine.context))
        << machine.name << ": " << message_of(machine);
    for (size_t i = 0; i < sizes.size(); ++i) {
      EXPECT_TRUE(outputs[i].guarded()) << machine.name << " wrote beyond output " << i;
      if (result.size() < sizes.size()) {
        result.push_back(outputs[i].values());
        continue;
      }
      for (int64_t j = 0; j < sizes[i]; ++j) {
        if (same_bits(result[i][j], data[i][j])) continue;
        ADD_FAILURE() << machine.name << " differs from " << machines()[0].name << " at output "
                      << i << " [" << j << "]: " << data[i][j] << " for " << result[i][j];
        break;
      }
    }
  }
  return result;
}

// The same for one output.
template <class T, class Run>
std::vector<T> output_of(int64_t size, Run run) {
  return outputs_of<T>({size}, [&](const Machine &m, std::vector<T *> y) { return run(m, y[0]); })
      .front();
}

constexpr int64_t kSizes[] = {1, 3, 7, 17, 33, 301};

// Roughly normal numbers.
template <class T>
std::vector<T> random_data(int64_t n, uint32_t seed = 1) {
  std::mt19937 bits(seed * 7919u + static_cast<uint32_t>(n));
  std::vector<T> x(n);
  for (T &v : x) {
    double sum = 0;
    for (int i = 0; i < 4; ++i) sum += bits() * 0x1p-32 - 0.5;
    v = static_cast<T>(sum * 1.7320508);
  }
  return x;
}

template <class T>
std::vector<int32_t> random_index(int64_t n, T high, uint32_t seed = 1) {
  std::mt19937 bits(seed);
  std::vector<int32_t> x(n);
  for (int32_t &v : x) v = static_cast<int32_t>(bits() % high);
  return x;
}

// Infinities, NaN, zeros, subnormal, huge and tiny numbers, in turn.
template <class T>
std::vector<T> extreme_data(int64_t n) {
  using L = std::numeric_limits<T>;
  const T kinds[] = {0,
                     -T{0},
                     L::infinity(),
                     -L::infinity(),
                     L::quiet_NaN(),
                     L::max(),
                     L::lowest(),
                     L::min(),
                     L::denorm_min(),
                     -L::denorm_min(),
                     L::epsilon(),
                     1,
                     -1,
                     88,
                     -104,
                     T{0.5},
                     L::min() / 4,
                     710,
                     -746,
                     T{1e30}};
  std::vector<T> x(n);
  for (int64_t i = 0; i < n; ++i) x[i] = kinds[i % std::size(kinds)];
  return x;
}

template <class T>
T ulp_of(T x) {
  x = std::abs(x);
  return std::nextafter(x, std::numeric_limits<T>::infinity()) - x;
}

// |got - exact| <= 2 (or `times`) x the largest error of the plain loop + one ULP of the largest
// value (doubles: 1e-12 of the largest value); infinities and NaN in the same places. `largest` is
// given where the values are differences of larger ones.
template <class T>
void expect_close(const std::vector<T> &got, const std::vector<long double> &exact,
                  const std::vector<T> &plain, long double largest = 0, int times = 2) {
  ASSERT_EQ(got.size(), exact.size());
  long double error = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    if (!std::isfinite(exact[i])) continue;
    largest = std::max(largest, std::abs(exact[i]));
    if (std::isfinite(plain[i])) error = std::max(error, std::abs(plain[i] - exact[i]));
  }
  const long double limit = std::is_same_v<T, double>
                                ? 1e-12L * largest
                                : times * error + ulp_of(static_cast<T>(largest));
  for (size_t i = 0; i < exact.size(); ++i) {
    if (std::isnan(exact[i]) && std::isnan(got[i])) continue;
    if (static_cast<T>(exact[i]) == got[i]) continue;
    EXPECT_LE(std::abs(got[i] - exact[i]), limit)
        << "at " << i << ": " << got[i] << " for " << exact[i];
    if (!(std::abs(got[i] - exact[i]) <= limit)) return;
  }
}

// The same bits as expected, NaN for NaN.
template <class T>
void expect_equal(const std::vector<T> &got, const std::vector<T> &expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    ASSERT_TRUE(same_bits(got[i], expected[i]))
        << "at " << i << ": " << got[i] << " for " << expected[i];
  }
}

// The status of a call with a wrong value in memory: a CUDA library finds it when it waits.
inline int32_t found(int32_t status, pnd_context *context) {
  return status == PND_OK && !has_header_order() ? pnd_synchronize(context) : status;
}

// Expects a refusal whose sentence holds the given words.
inline void expect_refused(int32_t status, const Machine &machine, const std::string &words,
                           int32_t expected = PND_BAD_ARGUMENT) {
  EXPECT_EQ(expected, status);
  EXPECT_NE(std::string::npos, message_of(machine).find(words)) << message_of(machine);
}

using FloatTypes = testing::Types<float, double>;
