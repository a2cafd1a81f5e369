// SPDX-License-Identifier: Apache-2.0
// replay: plays call tapes on a library and compares what it wrote with what the tape expects.
//   replay [--threads N] [--repeat N] [--recorded] [--aligned] [--within BYTES]
//          [--host | --device] LIBRARY TAPE...
// One line per tape and a last line "N passed, N failed"; the exit code is 1 if a call failed.
//   --repeat    plays each call N times, which must leave the same bits
//   --recorded  plays each call once more, recorded as a graph that is launched; it must leave the
//               same bits. Copies between host and device cannot be recorded.
//   --aligned   aligns every array to 64 bytes, as pnd_allocate does
//   --within    plays only the calls whose arrays hold at most that many bytes together
//   --host      the arrays lie in this program's memory, as they do for CPU libraries
//   --device    each lies in a block from pnd_allocate, uploaded before a call and downloaded after
//               it, as they do for all other libraries
//
// A tape, little-endian: the 8 bytes "PNDTAPE1", then calls to its end. A call is the function's
// name (u32 length, bytes), u32 the number of arguments, and the arguments after the context:
//   'i' i64                       a number for an int32_t or int64_t parameter
//   'd' f64                       a number for a double parameter
//   '0'                           a null pointer
//   'r' type u64 n, n elements    an array that is read
//   'w' type u64 n, limit, n expected values             an array that is written
//   'u' type u64 n, limit, n elements, n expected values an array that is updated in place
// type is one byte: 0 f32, 1 f64, 2 i32, 3 bf16, 4 i64; elements have that type. Expected values
// are f64 for the float types and the type itself for integers, which must be equal. limit is three
// f64: a value passes if |value - expected| <= absolute + ulps * ulp(expected), and the array if
// norm(value - expected) <= relative norm(expected). A value that the type cannot hold, and NaN,
// must be met exactly.
//
// Written arrays are filled with NaN first. Every array lies between two guards of 64 bytes, at an
// address that is aligned to its element and, without --aligned, to no more; guards and read arrays
// must come back unchanged. Under AddressSanitizer the guards in this program's memory are poisoned
// while the call runs; of the device's blocks it sees what passes their ends.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "functions.h"
#include "say.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#endif

namespace {

enum Type : uint8_t { F32, F64, I32, BF16, I64 };

constexpr int64_t kGuard = 64;
constexpr unsigned char kGuardByte = 0xA5;

int64_t bytes_of(Type type) {
  constexpr int64_t kBytes[] = {4, 8, 4, 2, 8};
  return kBytes[type];
}

// What a type's numbers are, seen as doubles: their value, a double rounded to the nearest of them,
// and the distance to the next one.
template <class T>
struct Numbers {
  using Stored = T;
  static double value(T x) { return x; }
  static double round(double x) { return static_cast<double>(static_cast<T>(x)); }
  static double ulp(double x) {
    const T size = static_cast<T>(std::abs(x));
    const T next = std::nextafter(size, std::numeric_limits<T>::infinity());
    return std::isinf(next) ? size - std::nextafter(size, T{0}) : next - size;
  }
};
struct Bf16Numbers {
  using Stored = uint16_t;
  static constexpr double kLargest = 0x1.FEp127;
  static double value(uint16_t x) {
    const uint32_t bits = uint32_t{x} << 16;
    float result;
    std::memcpy(&result, &bits, sizeof result);
    return result;
  }
  static double round(double x) {
    if (x == 0 || !std::isfinite(x)) return x;
    const double near = std::nearbyint(x / ulp(x)) * ulp(x);
    return std::abs(near) > kLargest ? std::copysign(HUGE_VAL, x) : near;
  }
  static double ulp(double x) {
    const double size = std::max(std::min(std::abs(x), kLargest), 0x1p-126);
    return std::ldexp(1.0, std::ilogb(size) - 7);
  }
};

struct Array {
  char role = 0;
  Type type = F32;
  int64_t count = 0;
  double absolute = 0, ulps = 0, relative = 0;
  std::vector<char> content;   // what the call finds there
  std::vector<char> expected;  // what it should leave there
  std::unique_ptr<char[]> block;
  char *data = nullptr;
  bool aligned = false;
  std::vector<char> first;  // what the first of several calls left there

  int64_t bytes() const { return count * bytes_of(type); }

  // The array with its guards.
  char *guarded() const { return data - kGuard; }
  int64_t guarded_bytes() const { return bytes() + 2 * kGuard; }
  // How far they lie from the start of an aligned block.
  int64_t offset() const { return aligned ? kGuard : bytes_of(type); }

  // A fresh block, so that a sanitizer sees each array by itself.
  void lay_out() {
    block.reset(new char[bytes() + 4 * kGuard]);
    char *start = block.get();
    start += (kGuard - reinterpret_cast<uintptr_t>(start) % kGuard) % kGuard;
    data = start + offset() + kGuard;
    std::memset(guarded(), kGuardByte, static_cast<size_t>(guarded_bytes()));
    if (role == 'w') {
      std::memset(data, 0xFF, static_cast<size_t>(bytes()));
    } else {
      std::memcpy(data, content.data(), content.size());
    }
  }

  // A poisoned range starts at a multiple of 8; up to 7 bytes before the data stay open.
  void poison_guards() const {
    ASAN_POISON_MEMORY_REGION(data - kGuard, kGuard);
    ASAN_POISON_MEMORY_REGION(data + bytes(), kGuard);
  }
  void unpoison_guards() const {
    ASAN_UNPOISON_MEMORY_REGION(data - kGuard, kGuard);
    ASAN_UNPOISON_MEMORY_REGION(data + bytes(), kGuard);
  }

  std::string check_guards() const {
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

  template <class N>
  std::string compare_floats() const {
    double distance = 0, norm = 0;
    for (int64_t i = 0; i < count; ++i) {
      const double got = N::value(value<typename N::Stored>(data, i));
      const double want = value<double>(expected.data(), i);
      const double near = N::round(want);
      bool good;
      if (std::isnan(near) || std::isinf(near)) {
        good = std::isnan(near) ? std::isnan(got) : got == near;
      } else {
        const double off = std::abs(got - want);
        good = off <= absolute + ulps * N::ulp(near);
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
        return compare_floats<Numbers<float>>();
      case F64:
        return compare_floats<Numbers<double>>();
      case BF16:
        return compare_floats<Bf16Numbers>();
      case I32:
        return compare_integers<int32_t>();
      case I64:
        return compare_integers<int64_t>();
    }
    return "has an unknown type";
  }

  // A later call must leave what the first one left, NaN included.
  std::string compare_with_first() {
    if (first.empty()) {
      first.assign(data, data + bytes());
    } else if (std::memcmp(data, first.data(), first.size()) != 0) {
      return "has other bits when called again";
    }
    return "";
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

struct Call {
  const Function &function;
  std::vector<Argument> arguments;
  std::vector<Array> arrays;  // of those arguments that are arrays

  int64_t bytes() const {
    int64_t sum = 0;
    for (const Array &array : arrays) sum += array.bytes();
    return sum;
  }
  bool is_array(size_t i) const { return arrays[i].role != 0; }

  // Whether an argument is the host's memory for any library.
  bool is_of_host(size_t i) const {
    const std::string name = function.name, parameter = function.parameters[i];
    return (name == "pnd_upload" && parameter == "from") ||
           (name == "pnd_download" && parameter == "to");
  }

  bool moves_to_or_from_the_host() const {
    for (size_t i = 0; i < arguments.size(); ++i) {
      if (is_of_host(i)) return true;
    }
    return false;
  }

  std::string describe() const {
    std::string text = function.name + std::strlen("pnd_");
    for (size_t i = 0; i < arguments.size(); ++i) {
      const bool real = function.kinds[i] == Kind::Double;
      if (is_array(i) || (!real && function.kinds[i] < Kind::Int32)) continue;
      text += real ? say(" %s=%g", function.parameters[i], arguments[i].real)
                   : say(" %s=%lld", function.parameters[i],
                         static_cast<long long>(arguments[i].integer));
    }
    return text;
  }
};

Call read_call(Tape &tape) {
  const auto length = tape.next<uint32_t>();
  const std::string name(tape.bytes(length), length);
  const Function &function = find(name);
  const auto count = tape.next<uint32_t>();
  if (count != function.parameters.size()) {
    throw std::runtime_error(say("gives %s %u arguments", name.c_str(), count));
  }
  Call call{function, std::vector<Argument>(count), std::vector<Array>(count)};
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
      call.arguments[i].integer = tape.next<int64_t>();
    } else if (role == 'd') {
      call.arguments[i].real = tape.next<double>();
    } else if (role == '0') {
      call.arguments[i].pointer = nullptr;
    } else {
      Array &array = call.arrays[i];
      array.role = role;
      array.type = static_cast<Type>(tape.next<uint8_t>());
      if (array.type > I64) throw std::runtime_error(say("has an array of type %d", array.type));
      array.count = static_cast<int64_t>(tape.next<uint64_t>());
      if (role != 'r') {
        array.absolute = tape.next<double>();
        array.ulps = tape.next<double>();
        array.relative = tape.next<double>();
      }
      if (role != 'w') array.content = tape.block(array.bytes());
      const bool integers = array.type == I32 || array.type == I64;
      if (role != 'r') array.expected = tape.block(integers ? array.bytes() : 8 * array.count);
    }
  }
  return call;
}

enum class Place { Usual, Host, Device };

// A library with an open context, and where it finds the arrays of a call.
class Player {
 public:
  Player(const char *path, int32_t threads, Place place, bool aligned)
      : library_(path), aligned_(aligned) {
    if (library_.as<decltype(&pnd_open)>("pnd_open")(&context_, 0, threads, 0) != PND_OK) {
      std::fprintf(stderr, "%s: %s\n", path, message().c_str());
      std::exit(2);
    }
    char build[128] = "";
    library_.as<decltype(&pnd_build)>("pnd_build")(context_, build, sizeof build);
    const bool cpu = std::strncmp(build, "cpu", 3) == 0;
    on_device_ = place == Place::Usual ? !cpu : place == Place::Device;
  }
  ~Player() { library_.as<decltype(&pnd_close)>("pnd_close")(context_); }
  Player(const Player &) = delete;
  Player &operator=(const Player &) = delete;

  // Plays a call; returns what was wrong with it.
  std::string play(Call &call, int64_t repeats, bool recorded) {
    for (int64_t time = 0; time < repeats; ++time) {
      const std::string wrong = play(call, &Player::run);
      if (!wrong.empty()) return call.describe() + ": " + wrong;
    }
    if (!recorded || call.moves_to_or_from_the_host()) return "";
    const std::string wrong = play(call, &Player::launch);
    return wrong.empty() ? "" : call.describe() + ", recorded: " + wrong;
  }

 private:
  std::string play(Call &call, int32_t (Player::*way)(const Call &) const) {
    std::vector<void *> blocks(call.arrays.size());
    int32_t status = PND_OK;
    for (size_t i = 0; i < blocks.size(); ++i) {
      if (!call.is_array(i)) continue;
      Array &array = call.arrays[i];
      array.aligned = aligned_;
      array.lay_out();
      call.arguments[i].pointer = array.data;
      if (on_device_ && !call.is_of_host(i)) {
        if (status == PND_OK) status = send(array, &blocks[i]);
        if (status != PND_OK) continue;
        call.arguments[i].pointer = static_cast<char *>(blocks[i]) + array.offset() + kGuard;
      } else {
        array.poison_guards();
      }
    }
    if (status == PND_OK) status = (this->*way)(call);
    if (status == PND_OK) {
      status = library_.as<decltype(&pnd_synchronize)>("pnd_synchronize")(context_);
    }
    const std::string refusal =
        status == PND_OK ? "" : say("status %d, %s", status, message().c_str());
    std::string wrong;
    for (size_t i = 0; i < blocks.size(); ++i) {
      if (!call.is_array(i)) continue;
      Array &array = call.arrays[i];
      array.unpoison_guards();
      const bool lost = blocks[i] != nullptr && fetch(array, blocks[i]) != PND_OK;
      if (lost && status != PND_OK) continue;
      std::string why = lost ? "cannot be fetched: " + message() : array.check_guards();
      if (why.empty() && status == PND_OK) why = array.compare();
      if (why.empty() && status == PND_OK) why = array.compare_with_first();
      if (wrong.empty() && !why.empty()) wrong = call.function.parameters[i] + (" " + why);
    }
    return wrong.empty() ? refusal : wrong;
  }

  int32_t run(const Call &call) const {
    const Function &function = call.function;
    return function.call(library_.symbol(function.name), context_, call.arguments.data());
  }

  // Runs the call as a graph of its own. A recording is ended also where the call was refused.
  int32_t launch(const Call &call) const {
    const int32_t begun = library_.as<decltype(&pnd_record)>("pnd_record")(context_);
    if (begun != PND_OK) return begun;
    const int32_t taken = run(call);
    void *graph = nullptr;
    int32_t status = library_.as<decltype(&pnd_recorded)>("pnd_recorded")(context_, &graph);
    if (taken != PND_OK) return taken;
    if (status == PND_OK)
      status = library_.as<decltype(&pnd_launch)>("pnd_launch")(context_, graph);
    if (status != PND_OK) return status;
    status = library_.as<decltype(&pnd_synchronize)>("pnd_synchronize")(context_);
    if (status != PND_OK) return status;
    return library_.as<decltype(&pnd_release_graph)>("pnd_release_graph")(context_, graph);
  }

  // A block with the array and its guards. Forgets the array's bytes, so that what is compared
  // later can only have come back from the device.
  int32_t send(const Array &array, void **block) const {
    const int64_t bytes = array.offset() + array.guarded_bytes();
    int32_t status = library_.as<decltype(&pnd_allocate)>("pnd_allocate")(context_, block, bytes);
    if (status != PND_OK) return status;
    status = library_.as<decltype(&pnd_upload)>("pnd_upload")(
        context_, static_cast<char *>(*block) + array.offset(), array.guarded(),
        array.guarded_bytes());
    std::memset(array.guarded(), 0, static_cast<size_t>(array.guarded_bytes()));
    return status;
  }

  int32_t fetch(const Array &array, void *block) const {
    const int32_t status = library_.as<decltype(&pnd_download)>("pnd_download")(
        context_, array.guarded(), static_cast<char *>(block) + array.offset(),
        array.guarded_bytes());
    if (status != PND_OK) return status;
    return library_.as<decltype(&pnd_release)>("pnd_release")(context_, block);
  }

  std::string message() const {
    char text[512] = "";
    library_.as<decltype(&pnd_message)>("pnd_message")(context_, text, sizeof text);
    return text;
  }

  TestLibrary library_;
  pnd_context *context_ = nullptr;
  bool on_device_ = false;
  const bool aligned_;
};

// Options and the words after them; false if they are none of replay's.
struct Options {
  int64_t threads = 1, repeats = 1, within = std::numeric_limits<int64_t>::max();
  bool recorded = false, aligned = false;
  Place place = Place::Usual;
  const char *library = nullptr;
  std::vector<const char *> tapes;

  bool read(int count, char **words) {
    int i = 1;
    for (; i < count && std::strncmp(words[i], "--", 2) == 0; ++i) {
      const std::string word = words[i];
      int64_t *const number = word == "--threads"  ? &threads
                              : word == "--repeat" ? &repeats
                              : word == "--within" ? &within
                                                   : nullptr;
      if (number != nullptr && i + 1 < count) {
        *number = std::atoll(words[++i]);
        if (*number < 1) return false;
      } else if (word == "--recorded" || word == "--aligned") {
        (word == "--recorded" ? recorded : aligned) = true;
      } else if (word == "--host" || word == "--device") {
        place = word == "--host" ? Place::Host : Place::Device;
      } else {
        return false;
      }
    }
    if (count - i < 2) return false;
    library = words[i];
    tapes.assign(words + i + 1, words + count);
    return true;
  }
};

}  // namespace

int main(int count, char **words) {
  Options options;
  if (!options.read(count, words)) {
    std::fprintf(
        stderr,
        "usage: replay [--threads N] [--repeat N] [--recorded] [--aligned] [--within BYTES] "
        "[--host | --device] LIBRARY TAPE...\n");
    return 2;
  }
  std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);  // a crash leaves the lines before it
  Player player(options.library, static_cast<int32_t>(options.threads), options.place,
                options.aligned);
  int64_t passed = 0, failed = 0;
  for (const char *path : options.tapes) {
    int64_t good = 0, bad = 0;
    std::string why;
    try {
      Tape tape(path);
      while (!tape.ended()) {
        Call call = read_call(tape);
        if (call.bytes() > options.within) continue;
        const std::string wrong = player.play(call, options.repeats, options.recorded);
        (wrong.empty() ? good : bad) += 1;
        if (why.empty()) why = wrong;
      }
    } catch (const std::exception &e) {
      ++bad;
      why = e.what();
    }
    std::printf("%s: %lld passed, %lld failed%s%s\n", path, static_cast<long long>(good),
                static_cast<long long>(bad), why.empty() ? "" : "; ", why.c_str());
    passed += good;
    failed += bad;
  }
  std::printf("%lld passed, %lld failed\n", static_cast<long long>(passed),
              static_cast<long long>(failed));
  return failed == 0 ? 0 : 1;
}
