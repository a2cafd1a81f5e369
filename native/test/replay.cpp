// SPDX-License-Identifier: Apache-2.0
// replay: plays call tapes on a library and compares what it wrote with what the tape expects.
//   replay [--threads N] LIBRARY TAPE...
// One line per tape and a last line "N passed, N failed"; the exit code is 1 if a call failed.
//
// A tape, little-endian: the 8 bytes "PNDTAPE1", then calls to its end. A call is the function's
// name (u32 length, bytes), u32 the number of arguments, and the arguments after the context:
//   'i' i64                       a number for an int32_t or int64_t parameter
//   'd' f64                       a number for a double parameter
//   '0'                           a null pointer
//   'r' type u64 n, n elements    an array that is read
//   'w' type u64 n, limit, n expected values             an array that is written
//   'u' type u64 n, limit, n elements, n expected values an array that is updated in place
// type is one byte: 0 f32, 1 f64, 2 i32, 3 i64; elements have that type. Expected values are f64
// for the float types and the type itself for integers, which must be equal. limit is three f64:
// a value passes if |value - expected| <= absolute + ulps * ulp(expected), and the array if
// norm(value - expected) <= relative norm(expected). A value that the type cannot hold, and NaN,
// must be met exactly.
//
// Written arrays are filled with NaN first. Every array lies between two guards of 64 bytes, at an
// address that is aligned to its element and to no more; guards and read arrays must come back
// unchanged. Under AddressSanitizer the guards are poisoned while the call runs.
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "functions.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#endif

namespace {

enum Type : uint8_t { F32, F64, I32, I64 };

constexpr int64_t kGuard = 64;
constexpr unsigned char kGuardByte = 0xA5;

std::string say(const char *format, ...) __attribute__((format(printf, 1, 2)));
std::string say(const char *format, ...) {
  char text[1024];
  va_list values;
  va_start(values, format);
  std::vsnprintf(text, sizeof text, format, values);
  va_end(values);
  return text;
}

int64_t bytes_of(Type type) { return type == F32 || type == I32 ? 4 : 8; }

struct Array {
  char role = 0;
  Type type = F32;
  int64_t count = 0;
  double absolute = 0, ulps = 0, relative = 0;
  std::vector<char> content;   // what the call finds there
  std::vector<char> expected;  // what it should leave there
  std::unique_ptr<char[]> block;
  char *data = nullptr;

  int64_t bytes() const { return count * bytes_of(type); }

  // A fresh block, so that a sanitizer sees each array by itself.
  void lay_out() {
    block.reset(new char[bytes() + 4 * kGuard]);
    char *aligned = block.get();
    aligned += (kGuard - reinterpret_cast<uintptr_t>(aligned) % kGuard) % kGuard;
    data = aligned + kGuard + bytes_of(type);
    std::memset(data - kGuard, kGuardByte, static_cast<size_t>(bytes() + 2 * kGuard));
    if (role == 'w') {
      std::memset(data, 0xFF, static_cast<size_t>(bytes()));
    } else {
      std::memcpy(data, content.data(), content.size());
    }
    // A poisoned range starts at a multiple of 8; up to 7 bytes before the data stay open.
    ASAN_POISON_MEMORY_REGION(data - kGuard, kGuard);
    ASAN_POISON_MEMORY_REGION(data + bytes(), kGuard);
  }

  std::string check_guards() {
    ASAN_UNPOISON_MEMORY_REGION(data - kGuard, kGuard);
    ASAN_UNPOISON_MEMORY_REGION(data + bytes(), kGuard);
    for (int64_t i = 0; i < kGuard; ++i) {
      if (static_cast<unsigned char>(data[-1 - i]) != kGuardByte) return "wrote before its start";
      if (static_cast<unsigned char>(data[bytes() + i]) != kGuardByte) return "wrote past its end";
    }
    return "";
  }

  template <class T>
  T value(const char *from, int64_t i) const {
    T result;
    std::memcpy(&result, from + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
    return result;
  }

  template <class T>
  std::string compare_floats() const {
    double distance = 0, norm = 0;
    for (int64_t i = 0; i < count; ++i) {
      const double got = value<T>(data, i);
      const double want = value<double>(expected.data(), i);
      const T near = static_cast<T>(want);
      bool good;
      if (std::isnan(near) || std::isinf(near)) {
        good = std::isnan(near) ? std::isnan(got) : got == near;
      } else {
        const T size = std::abs(near);
        const T next = std::nextafter(size, std::numeric_limits<T>::infinity());
        const double ulp = std::isinf(next) ? size - std::nextafter(size, T{0}) : next - size;
        const double off = std::abs(got - want);
        good = off <= absolute + ulps * ulp;
        distance += off * off;
        norm += want * want;
      }
      if (!good) {
        return say("[%lld] is %.17g, expected %.17g, off by %.3g", static_cast<long long>(i), got,
                   want, std::abs(got - want));
      }
    }
    if (std::isinf(relative) || distance <= relative * relative * norm) return "";
    return say("is off by %.3g of its norm", std::sqrt(distance / norm));
  }

  template <class T>
  std::string compare_integers() const {
    for (int64_t i = 0; i < count; ++i) {
      const T got = value<T>(data, i), want = value<T>(expected.data(), i);
      if (got != want) {
        return say("[%lld] is %lld, expected %lld", static_cast<long long>(i),
                   static_cast<long long>(got), static_cast<long long>(want));
      }
    }
    return "";
  }

  std::string compare() const {
    if (role == 'r') {
      const bool same = std::memcmp(data, content.data(), content.size()) == 0;
      return same ? "" : "is read only and was changed";
    }
    switch (type) {
      case F32:
        return compare_floats<float>();
      case F64:
        return compare_floats<double>();
      case I32:
        return compare_integers<int32_t>();
      case I64:
        return compare_integers<int64_t>();
    }
    return "has an unknown type";
  }
};

struct Tape {
  std::string text;
  size_t at = 0;

  explicit Tape(const char *path) {
    std::FILE *file = std::fopen(path, "rb");
    if (file == nullptr) throw std::runtime_error("cannot be opened");
    char part[65536];
    for (size_t n; (n = std::fread(part, 1, sizeof part, file)) > 0;) text.append(part, n);
    std::fclose(file);
    if (text.compare(0, 8, "PNDTAPE1") != 0) throw std::runtime_error("is no call tape");
    at = 8;
  }
  bool ended() const { return at == text.size(); }
  const char *bytes(uint64_t count) {
    if (count > text.size() - at) throw std::runtime_error("ends in the middle of a call");
    at += count;
    return text.data() + at - count;
  }
  template <class T>
  T next() {
    T result;
    std::memcpy(&result, bytes(sizeof(T)), sizeof(T));
    return result;
  }
  std::vector<char> block(int64_t size) {
    const char *from = bytes(static_cast<uint64_t>(size));
    return {from, from + size};
  }
};

const Function &find(const std::string &name) {
  for (const Function &function : functions()) {
    if ("pnd_" + name == function.name) return function;
  }
  throw std::runtime_error("has a call of the unknown function " + name);
}

// Reads and plays one call; returns what was wrong with it.
std::string play(Tape &tape, const TestLibrary &library, pnd_context *context) {
  const auto length = tape.next<uint32_t>();
  const std::string name(tape.bytes(length), length);
  const Function &function = find(name);
  const auto count = tape.next<uint32_t>();
  if (count != function.parameters.size()) {
    throw std::runtime_error(say("gives %s %u arguments", name.c_str(), count));
  }
  std::vector<Argument> arguments(count);
  std::vector<Array> arrays(count);
  for (uint32_t i = 0; i < count; ++i) {
    const char role = tape.next<char>();
    const Kind kind = function.kinds[i];
    const bool pointer = kind == Kind::Read || kind == Kind::Written;
    const bool fits = role == 'i' ? kind == Kind::Int32 || kind == Kind::Int64
                      : role == 'd'
                          ? kind == Kind::Double
                          : pointer && (role == '0' || (role == 'r') == (kind == Kind::Read));
    if (!fits) {
      throw std::runtime_error(
          say("gives %s a wrong kind of %s", name.c_str(), function.parameters[i]));
    }
    if (role == 'i') {
      arguments[i].integer = tape.next<int64_t>();
    } else if (role == 'd') {
      arguments[i].real = tape.next<double>();
    } else if (role == '0') {
      arguments[i].pointer = nullptr;
    } else {
      Array &array = arrays[i];
      array.role = role;
      array.type = static_cast<Type>(tape.next<uint8_t>());
      array.count = static_cast<int64_t>(tape.next<uint64_t>());
      if (role != 'r') {
        array.absolute = tape.next<double>();
        array.ulps = tape.next<double>();
        array.relative = tape.next<double>();
      }
      if (role != 'w') array.content = tape.block(array.bytes());
      const bool integers = array.type == I32 || array.type == I64;
      if (role != 'r') array.expected = tape.block(integers ? array.bytes() : 8 * array.count);
      array.lay_out();
      arguments[i].pointer = array.data;
    }
  }
  int32_t status = function.call(library.symbol(function.name), context, arguments.data());
  if (status == PND_OK) {
    status = library.as<decltype(&pnd_synchronize)>("pnd_synchronize")(context);
  }
  std::string wrong;
  for (uint32_t i = 0; i < count; ++i) {
    if (arrays[i].role == 0) continue;
    std::string why = arrays[i].check_guards();
    if (why.empty() && status == PND_OK) why = arrays[i].compare();
    if (wrong.empty() && !why.empty()) {
      wrong = say("%s %s", function.parameters[i], why.c_str());
    }
  }
  if (status != PND_OK && wrong.empty()) {
    char text[512] = "";
    library.as<decltype(&pnd_message)>("pnd_message")(context, text, sizeof text);
    wrong = say("status %d, %s", status, text);
  }
  if (wrong.empty()) return "";
  std::string scalars;
  for (uint32_t i = 0; i < count; ++i) {
    const bool real = function.kinds[i] == Kind::Double;
    if (arrays[i].role != 0 || (!real && function.kinds[i] < Kind::Int32)) continue;
    scalars += real ? say(" %s=%g", function.parameters[i], arguments[i].real)
                    : say(" %s=%lld", function.parameters[i],
                          static_cast<long long>(arguments[i].integer));
  }
  return say("%s%s: %s", name.c_str(), scalars.c_str(), wrong.c_str());
}

}  // namespace

int main(int count, char **words) {
  int32_t threads = 1;
  int first = 1;
  if (count > 2 && std::strcmp(words[1], "--threads") == 0) {
    threads = std::atoi(words[2]);
    first = 3;
  }
  if (count - first < 2) {
    std::fprintf(stderr, "usage: replay [--threads N] LIBRARY TAPE...\n");
    return 2;
  }
  const TestLibrary library(words[first]);
  pnd_context *context = nullptr;
  if (library.as<decltype(&pnd_open)>("pnd_open")(&context, 0, threads, 0) != PND_OK) {
    std::fprintf(stderr, "%s: pnd_open failed\n", words[first]);
    return 2;
  }
  int64_t passed = 0, failed = 0;
  for (int i = first + 1; i < count; ++i) {
    int64_t good = 0, bad = 0;
    std::string why;
    try {
      Tape tape(words[i]);
      while (!tape.ended()) {
        const std::string wrong = play(tape, library, context);
        (wrong.empty() ? good : bad) += 1;
        if (why.empty()) why = wrong;
      }
    } catch (const std::exception &e) {
      ++bad;
      why = e.what();
    }
    std::printf("%s: %lld passed, %lld failed%s%s\n", words[i], static_cast<long long>(good),
                static_cast<long long>(bad), why.empty() ? "" : "; ", why.c_str());
    passed += good;
    failed += bad;
  }
  library.as<decltype(&pnd_close)>("pnd_close")(context);
  std::printf("%lld passed, %lld failed\n", static_cast<long long>(passed),
              static_cast<long long>(failed));
  return failed == 0 ? 0 : 1;
}
