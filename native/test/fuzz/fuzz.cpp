// SPDX-License-Identifier: Apache-2.0
// fuzz: drives the C ABI with random functions, types, sizes, numbers and arrays.
//   fuzz [--seconds S] [--inputs N] [--seed X] [--corpus FILE] [--function pnd_name]... [--counts]
//        LIBRARY...
//   fuzz --replay "pnd_name HEX" LIBRARY...
//
// An input is a function's name and bytes (call.h). Each is called on every library with one and
// with three threads, and with a limit that scratch memory may pass; on the simulated device with
// its threads in two orders. For every call
//   the process survives, and the status is one of the header's; what must be refused is;
//   a refusal has a sentence that begins with the function's name, also where it comes when
//   waiting; no byte outside of the outputs is written, and none outside of the arrays read: arrays
//   reach to pages that cannot be touched, or are surrounded by poisoned bytes under
//   AddressSanitizer; an accepted call leaves the same bits again, on another number of threads,
//   and, of f32 and f64, in another build; each output is written whole, where the function does
//   not work in place; the second of two equal calls takes no memory.
// What fails is printed with the input that --replay takes.
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <memory>
#include <set>
#include <sstream>

#include "call.h"
#include "processor.h"

#ifdef __SANITIZE_ADDRESS__
#define PONDER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PONDER_ASAN 1
#endif
#endif
#ifdef PONDER_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#endif
// Of any sanitizer, where there is one.
extern "C" void __sanitizer_set_death_callback(void (*)()) __attribute__((weak));

namespace {

constexpr int64_t kPage = 4096, kGuard = 64;
constexpr unsigned char kMark = 0xA5;

// Slots for arrays, with a page between them that cannot be touched.
class Arena {
 public:
  explicit Arena(int64_t bytes) : slot_((bytes + kPage - 1) / kPage * kPage + kPage) {
    const int64_t all = static_cast<int64_t>(kSlots) * (slot_ + kPage) + kPage;
    void *memory = mmap(nullptr, static_cast<size_t>(all), PROT_NONE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::runtime_error("no memory for arrays");
    start_ = static_cast<char *>(memory) + kPage;
    for (size_t i = 0; i < kSlots; ++i) {
      mprotect(slot(i), static_cast<size_t>(slot_), PROT_READ | PROT_WRITE);
    }
  }
  char *slot(size_t i) const { return start_ + static_cast<int64_t>(i) * (slot_ + kPage); }
  char *place(size_t i, const Array &a) const {
    if (a.place == Place::ReachesEnd) return slot(i) + slot_ - a.size();
    return a.place == Place::ReachesStart ? slot(i) : slot(i) + 2 * kGuard + a.width;
  }
  // The bytes of a slot around an array, at most kGuard on either side: f(first, count).
  template <class F>
  void around(size_t i, const char *data, int64_t size, F &&f) const {
    const int64_t before = std::min<int64_t>(kGuard, data - slot(i));
    char *end = const_cast<char *>(data) + size;
    f(const_cast<char *>(data) - before, before);
    f(end, std::min<int64_t>(kGuard, slot(i) + slot_ - end));
  }

 private:
  static constexpr size_t kSlots = 40;
  const int64_t slot_;
  char *start_;
};

struct Library {
  TestLibrary file;
  std::string build;

  explicit Library(const char *path) : file(path) {
    char text[64] = "";
    file.as<decltype(&pnd_build)>("pnd_build")(nullptr, text, sizeof text);
    build = text;
  }
  bool is_cpu() const { return build.rfind("cpu", 0) == 0; }
};

// A context of a library.
class Machine {
 public:
  Machine(const Library &library, int32_t threads, int64_t limit, const char *order)
      : library_(&library), threads_(threads), limit_(limit), order_(order) {
    open();
  }
  Machine(Machine &&) = delete;
  ~Machine() { get<decltype(&pnd_close)>("pnd_close")(context_); }

  void reopen() {
    get<decltype(&pnd_close)>("pnd_close")(context_);
    open();
  }
  std::string name() const {
    return library_->build + say(", %d threads", threads_) +
           (order_ ? say(", order %s", order_) : "") + (limit_ ? ", small limit" : "");
  }
  bool is_small() const { return limit_ != 0; }
  const Library &library() const { return *library_; }

  // Calls, and waits; takes back what the call gave.
  int32_t call(const Call &c, const std::vector<Argument> &arguments) const {
    const int32_t status =
        c.function.call(library_->file.symbol(c.function.name), context_, arguments.data());
    const std::string name = c.function.name;
    if (status == PND_OK && name == "pnd_record") {
      void *graph = nullptr;
      get<decltype(&pnd_recorded)>("pnd_recorded")(context_, &graph);
      return get<decltype(&pnd_release_graph)>("pnd_release_graph")(context_, graph);
    }
    if (status == PND_OK && name == "pnd_allocate") {
      void *const memory = *static_cast<void **>(arguments[0].pointer);
      return get<decltype(&pnd_release)>("pnd_release")(context_, memory);
    }
    if (status != PND_OK) return status;
    return get<decltype(&pnd_synchronize)>("pnd_synchronize")(context_);
  }
  std::string message() const {
    char text[512] = "";
    get<decltype(&pnd_message)>("pnd_message")(context_, text, sizeof text);
    return text;
  }
  int64_t used() const {
    int64_t used = -1, peak = -1, limit = -1;
    get<decltype(&pnd_memory)>("pnd_memory")(context_, &used, &peak, &limit);
    return used <= peak && peak <= limit ? used : -1;
  }

 private:
  template <class F>
  F get(const char *name) const {
    return library_->file.as<F>(name);
  }
  void open() {
    if (order_ != nullptr) setenv("PONDER_SIMULATOR_SEED", order_, 1);
    if (get<decltype(&pnd_open)>("pnd_open")(&context_, 0, threads_, limit_) != PND_OK) {
      throw std::runtime_error("cannot open " + name());
    }
  }

  const Library *library_;
  int32_t threads_;
  int64_t limit_;
  const char *order_;
  pnd_context *context_ = nullptr;
};

// Whether this processor runs the library of that name; told before it is opened.
bool runs_here(const std::string &path) {
  const size_t at = path.rfind("cpu_");
  return at == std::string::npos ||
         processor_runs("cpu " + path.substr(at + 4, path.find('.', at) - at - 4));
}

// What is being called, for whoever reports the process's death.
char current[4096];
void tell() {
  if (write(2, current, std::strlen(current)) < 0) _exit(1);
}

struct Count {
  int64_t made = 0, accepted = 0, refused = 0;
};

class Fuzz {
 public:
  explicit Fuzz(const std::vector<std::string> &paths) : header_(PONDER_HEADER) {
    for (const std::string &path : paths) {
      if (runs_here(path)) libraries_.push_back(std::make_unique<Library>(path.c_str()));
    }
    if (libraries_.empty()) throw std::runtime_error("no library for this processor");
    const bool cpu = libraries_.front()->is_cpu();
    // The simulated device takes a thousand times longer.
    budget_ = cpu ? Budget{1 << 21, 0x1p16, 0x1p21} : Budget{1 << 16, 0x1p10, 0x1p14};
    // Of two arrays that overlap, one may lie on either side of the other.
    arena_ = std::make_unique<Arena>(3 * budget_.bytes + 2 * kGuard);
    for (size_t i = 0; i < libraries_.size(); ++i) {
      // After the first, on one thread and on three in turn.
      if (i == 0 || i % 2 == 1) add(*libraries_[i], 1, 0, cpu ? nullptr : "0");
      if (i % 2 == 0) add(*libraries_[i], 3, 0, cpu ? nullptr : "2");
    }
    add(*libraries_.front(), 2, 1 << 16, cpu ? nullptr : "1");
    for (const Function &f : functions()) {
      if (std::strcmp(f.name, "pnd_close") != 0) targets_.push_back(&f);
    }
    counts_.resize(targets_.size());
  }

  size_t targets() const { return targets_.size(); }
  size_t target(const std::string &name) const {
    for (size_t i = 0; i < targets_.size(); ++i) {
      if (name == targets_[i]->name) return i;
    }
    throw std::runtime_error("no function " + name);
  }
  const std::vector<Count> &counts() const { return counts_; }
  const Function &function(size_t i) const { return *targets_[i]; }

  // Plays an input; returns what was wrong with it, else nothing.
  std::string play(size_t target, const uint8_t *data, size_t size, bool loud = false) {
    // A scratch area that has grown would hide what a small one shows.
    if (++played_ % 64 == 0) {
      for (auto &machine : machines_) machine->reopen();
    }
    Call call(*targets_[target], header_, budget_, Bytes(data, size));
    std::string input = call.function.name + std::string(" ");
    for (size_t i = 0; i < size; ++i) input += say("%02x", data[i]);
    std::snprintf(current, sizeof current, "\nin the call\n  %s\n  --replay \"%s\"\n",
                  call.describe().c_str(), input.c_str());
    if (loud) std::printf("%s\n", call.describe().c_str());
    alarm(300);
    const std::string wrong = run(call, counts_[target], loud);
    alarm(0);
    return wrong.empty() ? "" : wrong + current;
  }

 private:
  void add(const Library &library, int32_t threads, int64_t limit, const char *order) {
    machines_.push_back(std::make_unique<Machine>(library, threads, limit, order));
  }

  std::string run(const Call &call, Count &count, bool loud) {
    ++count.made;
    std::vector<Argument> arguments = call.arguments;
    for (size_t i = 0; i < arguments.size(); ++i) {
      if (call.arrays[i].given) arguments[i].pointer = arena_->place(i, call.arrays[i]);
      if (call.is_pointer(i) && !call.arrays[i].given) arguments[i].pointer = nullptr;
    }
    if (call.moved >= 0) {
      // From the middle of a slot, where there is room on both sides.
      char *middle = arena_->slot(call.onto) + (size_of(call.arrays[call.moved]) / 64 + 1) * 64;
      arguments[call.onto].pointer = middle;
      arguments[call.moved].pointer = middle + call.shift;
    }
    first_.clear();
    int32_t status = -1;
    unsigned char fill = 0;
    for (const auto &machine : machines_) {
      int64_t used = 0;
      const bool again = call.must_refuse.empty() && &machine->library() == libraries_[0].get();
      const int times = again ? 2 : 1;
      for (int time = 0; time < times; ++time) {
        const std::string where = machine->name() + ": ";
        lay_out(call, arguments, fill = static_cast<unsigned char>(~fill));
        const int32_t got = machine->call(call, arguments);
        const std::string moved = check_arrays(call, arguments);
        const std::string sentence = got == PND_OK ? "" : machine->message();
        if (loud) std::printf("  %sstatus %d %s\n", where.c_str(), got, sentence.c_str());
        if (!moved.empty()) return where + moved;
        if (got < PND_OK || got >= PND_DEVICE_FAILED) return where + say("status %d", got);
        if (got == PND_OK && !call.must_refuse.empty())
          return where + "was accepted: " + call.must_refuse;
        if (got != PND_OK && !is_named(call, sentence)) return where + "refused with: " + sentence;
        if (machine->used() < 0) return where + "memory in use, its peak and limit disagree";
        if (time == 1 && machine->used() != used) return where + "a second call took memory";
        used = machine->used();
        if (got == PND_OUT_OF_MEMORY) {
          if (call.function.name != std::string("pnd_allocate") && !machine->is_small()) {
            return where + "out of memory: " + sentence;
          }
          continue;
        }
        if (status == -1 || !call.has_results()) status = got;
        if (got != status) return where + say("status %d, not %d: ", got, status) + sentence;
        if (got == PND_OK && call.has_results()) {
          const std::string other = compare(call, arguments, *machine);
          if (!other.empty()) return where + other;
        }
      }
    }
    ++(status == PND_OK ? count.accepted : count.refused);
    return "";
  }

  static bool is_named(const Call &call, const std::string &sentence) {
    static const std::set<std::string> kSilent = {"pnd_message", "pnd_abi_version", "pnd_build"};
    const std::string name = call.function.name + std::strlen("pnd_");
    return kSilent.count(call.function.name) > 0 ||
           (sentence.rfind(name + ": ", 0) == 0 && sentence.size() > name.size() + 6) ||
           sentence.rfind("synchronize: " + name + ": ", 0) == 0;
  }

  // Whether an array lies alone in its slot.
  static bool is_alone(const Call &call, size_t i) {
    return call.moved < 0 ||
           (static_cast<int>(i) != call.moved && static_cast<int>(i) != call.onto);
  }

  // Huge arrays, of calls to be refused, are not there: one element stands for each.
  static int64_t size_of(const Array &a) { return static_cast<int64_t>(a.bytes.size()); }

  void lay_out(const Call &call, const std::vector<Argument> &arguments, unsigned char fill) {
    for (size_t i = 0; i < arguments.size(); ++i) {
      const Array &a = call.arrays[i];
      if (!a.given) continue;
      char *data = static_cast<char *>(arguments[i].pointer);
      // What a call does not work on in place it writes whole.
      if (a.written && call.has_results() && !call.header.works_in_place(call.function)) {
        std::memset(data, fill, a.bytes.size());
      } else {
        std::memcpy(data, a.bytes.data(), a.bytes.size());
      }
      if (!is_alone(call, i)) continue;
      arena_->around(i, data, size_of(a), [](char *at, int64_t n) {
        std::memset(at, kMark, static_cast<size_t>(n));
        ASAN_POISON_MEMORY_REGION(at, static_cast<size_t>(n));
      });
    }
  }

  std::string check_arrays(const Call &call, const std::vector<Argument> &arguments) {
    std::string wrong;
    for (size_t i = 0; i < arguments.size(); ++i) {
      const Array &a = call.arrays[i];
      if (!a.given || !is_alone(call, i)) continue;
      const char *data = static_cast<const char *>(arguments[i].pointer);
      arena_->around(i, data, size_of(a), [&](char *at, int64_t n) {
        ASAN_UNPOISON_MEMORY_REGION(at, static_cast<size_t>(n));
        for (int64_t k = 0; k < n; ++k) {
          if (static_cast<unsigned char>(at[k]) == kMark) continue;
          wrong = say("wrote %lld bytes from %s's start, which has %lld",
                      static_cast<long long>(at + k - data), call.function.parameters[i],
                      static_cast<long long>(size_of(a)));
        }
      });
      if (!a.written && std::memcmp(data, a.bytes.data(), a.bytes.size()) != 0) {
        wrong = std::string(call.function.parameters[i]) + " is read only and was changed";
      }
    }
    return wrong;
  }

  template <class T>
  static bool same(const char *a, const char *b) {
    T x, y;
    std::memcpy(&x, a, sizeof x);
    std::memcpy(&y, b, sizeof y);
    return x != x ? y != y : std::memcmp(a, b, sizeof x) == 0;
  }

  // The outputs against those of the first machine that accepted the call; of bf16 a build has its
  // own.
  std::string compare(const Call &call, const std::vector<Argument> &arguments, const Machine &m) {
    const int at = call.find("dtype");
    const bool own = at >= 0 && call.arguments[at].integer == PND_BF16;
    auto &first = first_[own ? m.library().build : ""];
    const bool is_first = first.empty();
    if (is_first) first.resize(arguments.size());
    for (size_t i = 0; i < arguments.size(); ++i) {
      const Array &a = call.arrays[i];
      if (!a.given || !a.written) continue;
      const char *data = static_cast<const char *>(arguments[i].pointer);
      if (is_first) {
        first[i].assign(data, data + size_of(a));
        continue;
      }
      for (int64_t n = 0; n < size_of(a); n += a.width) {
        const char *want = &first[i][static_cast<size_t>(n)];
        if (a.dtype == PND_F32   ? same<float>(data + n, want)
            : a.dtype == PND_F64 ? same<double>(data + n, want)
                                 : std::memcmp(data + n, want, static_cast<size_t>(a.width)) == 0) {
          continue;
        }
        std::string text = say("%s[%lld] has other bits:", call.function.parameters[i],
                               static_cast<long long>(n / a.width));
        for (const char *bits : {want, data + n}) {
          text += ' ';
          for (int64_t k = a.width; k-- > 0;) text += say("%02x", static_cast<uint8_t>(bits[k]));
        }
        return text;
      }
    }
    return "";
  }

  Header header_;
  Budget budget_{};
  std::vector<std::unique_ptr<Library>> libraries_;
  std::vector<std::unique_ptr<Machine>> machines_;
  std::unique_ptr<Arena> arena_;
  std::vector<const Function *> targets_;
  std::vector<Count> counts_;
  std::map<std::string, std::vector<std::vector<char>>> first_;
  int64_t played_ = 0;
};

}  // namespace

#ifdef PONDER_LIBFUZZER

// The libraries are named in PONDER_FUZZ, with spaces between them. The first byte chooses the
// function.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static Fuzz fuzz = [] {
    std::stringstream words(std::getenv("PONDER_FUZZ"));
    if (__sanitizer_set_death_callback != nullptr) __sanitizer_set_death_callback(tell);
    return Fuzz({std::istream_iterator<std::string>(words), {}});
  }();
  if (size == 0) return 0;
  const std::string wrong = fuzz.play(data[0] % fuzz.targets(), data + 1, size - 1);
  if (wrong.empty()) return 0;
  std::fprintf(stderr, "%s", wrong.c_str());
  std::abort();
}

#else

namespace {

void tell_and_die(int signal) {
  tell();
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}
// Says what was called when the process is killed.
void watch() {
  for (int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGALRM, SIGTERM}) {
    std::signal(signal, tell_and_die);
  }
  if (__sanitizer_set_death_callback != nullptr) __sanitizer_set_death_callback(tell);
}

struct Options {
  double seconds = 1e9;
  int64_t inputs = std::numeric_limits<int64_t>::max();
  uint64_t seed = std::random_device{}();
  bool counts = false;
  std::string corpus, replay;
  std::vector<std::string> functions, libraries;

  bool read(int count, char **words) {
    for (int i = 1; i < count; ++i) {
      const std::string word = words[i];
      const bool more = i + 1 < count;
      if (word == "--counts") {
        counts = true;
      } else if (word == "--seconds" && more) {
        seconds = std::atof(words[++i]);
      } else if (word == "--inputs" && more) {
        inputs = std::atoll(words[++i]);
      } else if (word == "--seed" && more) {
        seed = std::strtoull(words[++i], nullptr, 10);
      } else if (word == "--function" && more) {
        functions.push_back(words[++i]);
      } else if (word == "--corpus" && more) {
        corpus = words[++i];
      } else if (word == "--replay" && more) {
        replay = words[++i];
      } else if (word.rfind("--", 0) == 0) {
        return false;
      } else {
        libraries.push_back(word);
      }
    }
    if (seconds == 1e9 && inputs == std::numeric_limits<int64_t>::max()) seconds = 5;
    return !libraries.empty();
  }
};

bool fails(const std::string &wrong) {
  if (!wrong.empty()) std::printf("FAILED %s", wrong.c_str());
  return !wrong.empty();
}

// "pnd_name 00ff..."
bool line_fails(Fuzz &fuzz, const std::string &line, bool loud) {
  std::stringstream words(line);
  std::string name, hex;
  words >> name >> hex;
  std::vector<uint8_t> bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes.push_back(static_cast<uint8_t>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return fails(fuzz.play(fuzz.target(name), bytes.data(), bytes.size(), loud));
}

int run(const Options &options) {
  Fuzz fuzz(options.libraries);
  if (!options.replay.empty()) return line_fails(fuzz, options.replay, true) ? 1 : 0;
  int64_t lines = 0;
  if (!options.corpus.empty()) {
    std::ifstream corpus(options.corpus);
    for (std::string line; std::getline(corpus, line); ++lines) {
      if (line.rfind("pnd_", 0) == 0 && line_fails(fuzz, line, false)) return 1;
    }
    if (lines == 0) throw std::runtime_error(options.corpus + " holds nothing");
  }
  std::printf("seed %llu\n", static_cast<unsigned long long>(options.seed));
  const auto begin = std::chrono::steady_clock::now();
  const auto seconds = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  std::vector<size_t> targets;
  for (const std::string &name : options.functions) targets.push_back(fuzz.target(name));
  for (size_t i = 0; i < fuzz.targets() && options.functions.empty(); ++i) targets.push_back(i);
  int64_t n = 0;
  for (; n < options.inputs && seconds() < options.seconds; ++n) {
    // Each input from a seed of its own, and each function in its turn.
    std::mt19937_64 bits(options.seed + static_cast<uint64_t>(n) * 0x9E3779B97F4A7C15u);
    std::array<uint8_t, 96> bytes;
    for (uint8_t &b : bytes) b = static_cast<uint8_t>(bits() >> 24);
    const size_t target = targets[static_cast<size_t>(n) % targets.size()];
    if (fails(fuzz.play(target, bytes.data(), bytes.size()))) {
      std::printf("seed %llu, input %lld\n", static_cast<unsigned long long>(options.seed),
                  static_cast<long long>(n));
      return 1;
    }
  }
  int64_t accepted = 0;
  bool idle = false;
  for (size_t i = 0; i < fuzz.targets(); ++i) {
    const Count &c = fuzz.counts()[i];
    const Function &f = fuzz.function(i);
    if (options.counts) {
      std::printf("%8lld accepted %8lld refused  %s\n", static_cast<long long>(c.accepted),
                  static_cast<long long>(c.refused), f.name);
    }
    accepted += c.accepted;
    // Of a function that computes, some calls must have been valid.
    const bool computes = std::strcmp(f.parameters.empty() ? "" : f.parameters[0], "dtype") == 0;
    if (computes && c.made >= 200 && c.accepted == 0) {
      std::printf("FAILED %s accepted none of %lld calls\n", f.name,
                  static_cast<long long>(c.made));
      idle = true;
    }
  }
  std::printf("%lld of a corpus, %lld inputs in %.0f s: %lld accepted, the rest refused\n",
              static_cast<long long>(lines), static_cast<long long>(n), seconds(),
              static_cast<long long>(accepted));
  return idle ? 1 : 0;
}

}  // namespace

int main(int count, char **words) {
  Options options;
  if (!options.read(count, words)) {
    std::printf(
        "usage: fuzz [--seconds S] [--inputs N] [--seed X] [--corpus FILE]\n"
        "            [--function pnd_name]... [--counts] LIBRARY...\n"
        "       fuzz --replay \"pnd_name HEX\" LIBRARY...\n");
    return 2;
  }
  watch();
  std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);  // a crash leaves the lines before it
  try {
    return run(options);
  } catch (const std::exception &e) {
    std::fprintf(stderr, "fuzz: %s\n", e.what());
    return 2;
  }
}

#endif
