// SPDX-License-Identifier: Apache-2.0
// call.h: a call of the header made from a few bytes: sizes, types, numbers and arrays, each of
// which may be what the header refuses. Bytes that are missing count as zeros, so that every string
// of bytes is a call and a longer one refines a shorter one.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <set>
#include <string>

#include "header.h"
#include "say.h"

class Bytes {
 public:
  Bytes(const uint8_t *data, size_t size) : data_(data), left_(size) {}
  // A number below n <= 256.
  int below(int n) {
    if (left_ == 0) return 0;
    --left_;
    return *data_++ % n;
  }
  bool one_of(int n) { return below(n) == n - 1; }
  int64_t word() {
    uint64_t all = 0;
    for (int i = 0; i < 8; ++i) all = all << 8 | static_cast<uint64_t>(below(256));
    return static_cast<int64_t>(all);
  }
  template <class T, size_t n>
  T pick(const T (&list)[n]) {
    return list[below(static_cast<int>(n))];
  }

 private:
  const uint8_t *data_;
  size_t left_;
};

// Where an array lies: its end at a page that cannot be touched, its start at one, or apart from
// both and aligned to its element alone.
enum class Place { ReachesEnd, ReachesStart, Between };

struct Array {
  bool given = false;  // the argument is a pointer, and not null
  bool written = false;
  int64_t width = 0;      // bytes of an element
  double count = 0;       // huge where the call is to be refused
  bool floating = false;  // elements are of the call's type, or of `from`
  int32_t dtype = -1;
  int content = 0;
  Place place = Place::ReachesEnd;
  std::optional<std::pair<double, double>> range;  // of an index array's values
  std::vector<char> bytes;                         // what the call finds there

  int64_t size() const { return static_cast<int64_t>(count) * width; }
};

// The most memory that an array may take, and that a call may cost, in elements that meet.
struct Budget {
  int64_t bytes;
  double usual, rare;
};

struct Call {
  const Function &function;
  const Header &header;
  Budget budget;
  std::vector<Argument> arguments;
  std::vector<Array> arrays;
  std::vector<Stated> stated;
  uint64_t seed = 0;
  std::string must_refuse;  // why, if it must
  // Argument `moved` is to lie `shift` bytes from the start of argument `onto`.
  int moved = -1, onto = -1;
  int64_t shift = 0;

  Call(const Function &f, const Header &h, Budget b, Bytes bytes)
      : function(f), header(h), budget(b), arguments(f.kinds.size()), arrays(f.kinds.size()) {
    for (size_t i = 0; i < f.kinds.size(); ++i) {
      stated.push_back(is_pointer(i) ? h.of(f, i) : Stated{});
    }
    for (size_t i = 0; i < f.kinds.size(); ++i) draw(i, bytes);
    const bool related = !bytes.one_of(16);
    const double most = bytes.one_of(16) ? budget.rare : budget.usual;
    if (related) relate(bytes);
    while (lay_out(), !fits(most)) {
      halve_largest();
      if (related) relate_sizes();
    }
    seed = static_cast<uint64_t>(bytes.word());
    fill_arrays();
    if (bytes.below(4) == 3) spoil(bytes);
  }

  bool is_pointer(size_t i) const { return function.kinds[i] <= Kind::Read; }
  int find(const char *name) const {
    for (size_t i = 0; i < arguments.size(); ++i) {
      if (std::strcmp(function.parameters[i], name) == 0) return static_cast<int>(i);
    }
    return -1;
  }
  bool is_size(size_t i) const {
    if (function.kinds[i] != Kind::Int64) return false;
    bool found = false;
    for (size_t j = 0; j < stated.size(); ++j) {
      const auto is_it = [&](const std::string &w) { return found |= w == function.parameters[i]; };
      for (const Sum &sum : stated[j].shape) sum.value([&](auto &w) { return is_it(w) ? 1 : 0; });
    }
    return found;
  }
  // Whether its results are numbers that every library must agree on.
  bool has_results() const {
    return find("dtype") >= 0 || std::any_of(function.kinds.begin(), function.kinds.end(),
                                             [](Kind k) { return k == Kind::Read; });
  }

  std::string describe() const {
    std::string text = function.name;
    for (size_t i = 0; i < arguments.size(); ++i) {
      const char *name = function.parameters[i];
      const Array &a = arrays[i];
      if (!is_pointer(i)) {
        text += function.kinds[i] == Kind::Double
                    ? say(" %s=%.17g", name, arguments[i].real)
                    : say(" %s=%lld", name, static_cast<long long>(arguments[i].integer));
      } else if (!a.given) {
        text += say(" %s=null", name);
      } else {
        constexpr const char *kPlaces[] = {"to its page's end", "from its page's start", "between"};
        text += say(" %s=[%g x %lld bytes, content %d, %s]", name, a.count,
                    static_cast<long long>(a.width), a.content, kPlaces[static_cast<int>(a.place)]);
      }
    }
    if (moved >= 0) {
      text += say("; %s lies %lld bytes from %s", function.parameters[moved],
                  static_cast<long long>(shift), function.parameters[onto]);
    }
    return text + (must_refuse.empty() ? "" : "; to be refused: " + must_refuse);
  }

 private:
  static constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  static constexpr int64_t kLeast = std::numeric_limits<int64_t>::min();

  int64_t &integer(const char *name) { return arguments[find(name)].integer; }

  void draw(size_t i, Bytes &bytes) {
    const std::string name = function.parameters[i];
    Argument &argument = arguments[i];
    if (is_pointer(i)) {
      Array &a = arrays[i];
      a.written = function.kinds[i] == Kind::Written;
      a.given = !stated[i].nullable || bytes.below(2) == 1;
      a.content = std::max(0, bytes.below(16) - 6);
      a.place = static_cast<Place>(bytes.below(3));
    } else if (name == "dtype" || name == "from") {
      constexpr int32_t kTypes[] = {PND_F32, PND_F64, PND_F32, PND_F64,  PND_F32,
                                    PND_F64, PND_F32, PND_F64, PND_BF16, PND_I32};
      argument.integer = bytes.pick(kTypes);
    } else if (function.kinds[i] == Kind::Double) {
      constexpr double kNumbers[] = {0.5, 0.9,  0,     1e-5, 0.1, 0.5, 0.9,  0,        0.1, 0.25,
                                     1,   -1,   2,     1e30, 3,   NAN, 64,   INFINITY, 0.5, 0.9,
                                     0,   -0.5, 10000, -0.0, 0.1, 0.7, -1e9, -INFINITY};
      argument.real = bytes.pick(kNumbers);
    } else if (function.kinds[i] == Kind::Int32) {
      constexpr int64_t kFlags[] = {0, 1, 0, 1, 2, 0, 1, -1};
      argument.integer = bytes.pick(kFlags);
    } else if (is_size(i)) {
      constexpr int64_t kSizes[] = {1,  2,  3,  7,  17, 33, 64,  65,  130, 1,   4,   5,    8,
                                    16, 31, 32, 63, 15, 9,  128, 192, 193, 257, 600, 4099, 20011};
      argument.integer = bytes.pick(kSizes);
    } else {
      constexpr int64_t kPlaces[] = {0,     1,     2, 5, 17, 40, 100, 0, -3, int64_t{1} << 40,
                                     kMost, kLeast};
      argument.integer = bytes.pick(kPlaces);
    }
  }

  // What the header asks of sizes beside the shapes, so that most calls are valid ones.
  void relate(Bytes &bytes) {
    if (find("count") >= 0 && find("size") >= 0) {
      integer("count") = std::min(integer("count"), integer("size"));
      const int start = find("start");
      if (start >= 0 && !is_pointer(start)) {
        arguments[start].integer = bytes.below(256) % (integer("size") - integer("count") + 1);
      }
    }
    if (find("kv_heads") >= 0) {
      group_ = 1 + bytes.below(4);
      integer("window") = std::clamp<int64_t>(integer("window"), -1, int64_t{1} << 40);
    }
    if (find("past") >= 0) {
      // What is remembered is there as a whole, and so are its adjoints.
      const bool remembers = arrays[find("past_keys")].given;
      for (const char *name : {"past_values", "dpast_keys", "dpast_values"}) {
        if (find(name) >= 0) arrays[find(name)].given = remembers;
      }
      share_of_room_ = remembers ? bytes.below(5) : 0;
    }
    if (find("causal") >= 0) {
      for (const char *name : {"mask_batch", "mask_heads", "mask_steps"}) {
        integer(name) = bytes.below(2);  // whether it is broadcast
      }
      broadcast_ = {integer("mask_batch") == 0, integer("mask_heads") == 0,
                    integer("mask_steps") == 0};
      Array &lengths = arrays[find("lengths")];
      const bool packed = arrays[find("q_starts")].given;
      arrays[find("k_starts")].given = packed;
      lengths.given = lengths.given && !packed;
      if (integer("causal") == 2 && !lengths.given) integer("causal") = 1;
    }
    if (find("decay_size") >= 0) {
      // One kind of memory, by what is there; an adjoint for each input.
      const int kind = bytes.below(4);
      const auto given = [&](const char *name) -> bool & { return arrays[find(name)].given; };
      given("rate") = kind == 1;
      given("erase") = given("write") = kind == 2;
      if (kind == 1 || kind == 2) integer("normalised") = 0;
      for (const char *name : {"features", "normalised"}) integer(name) &= 1;
      scalar_decay_ = bytes.below(2) == 0;
      for (const char *name : {"ddecay", "drate", "derase", "dwrite", "dinitial"}) {
        if (find(name) >= 0) given(name) = given(name + 1);
      }
      if (find("chunk") >= 0) {
        integer("chunk") = std::clamp<int64_t>(integer("chunk"), 0, 256);
        // As tensor cores take them.
        if (bytes.one_of(2)) integer("chunk") = 16 * (1 + bytes.below(4));
      }
    }
    if (find("scheme") >= 0) {
      integer("scheme") = bytes.below(6);
      integer("candidates") = 1 + bytes.below(5);
      integer("k") = std::max<int64_t>(0, integer("k"));
      // Tables of conditional Poisson grow with the number chosen.
      if (integer("scheme") == PND_CONDITIONAL) integer("k") = 1 + integer("k") % 40;
      for (const char *share : {"rate", "floor", "mask_share", "random_share"}) {
        if (find(share) >= 0) arguments[find(share)].real = bytes.below(9) / 16.0;
      }
      if (find("vocabulary") >= 0) {
        integer("vocabulary") = 1 + bytes.below(256);
        integer("mask_token") = bytes.below(256);
      }
    }
    relate_sizes();
  }

  void relate_sizes() {
    const auto size = [&](const char *name) -> int64_t & { return integer(name); };
    if (find("count") >= 0 && find("size") >= 0)
      size("count") = std::min(size("count"), size("size"));
    if (find("slots") >= 0) size("count") = std::min<int64_t>(size("count"), 256);
    if (find("base") >= 0) size("head_size") += size("head_size") & 1;
    if (find("decay_size") >= 0) {
      for (const char *name : {"keys", "values"}) size(name) = std::min<int64_t>(size(name), 256);
      size("decay_size") = scalar_decay_ ? 1 : size("keys");
    }
    if (find("kv_heads") >= 0) {
      size("head_size") = std::min<int64_t>(size("head_size"), 256);
      size("heads") = std::max<int64_t>(1, size("heads") / group_) * group_;
      size("kv_heads") = size("heads") / group_;
    }
    if (find("past") >= 0) size("past") = size("room") * share_of_room_ / 4;
    if (find("causal") >= 0) {
      const bool packed = arrays[find("q_starts")].given;
      if (packed) size("batch") = 1;
      size("segments") = packed ? std::max<int64_t>(1, size("segments")) : 0;
      size("mask_batch") = broadcast_[0] ? 1 : size("batch");
      size("mask_heads") = broadcast_[1] ? 1 : size("heads");
      size("mask_steps") = broadcast_[2] ? 1 : size("q_steps");
    }
  }

  double value(const Sum &sum) const {
    return sum.value([&](const std::string &name) {
      return static_cast<double>(arguments[find(name.c_str())].integer);
    });
  }

  // The arrays' types and sizes as the numbers are now.
  void lay_out() {
    const int dtype = find("dtype"), from = find("from");
    for (size_t i = 0; i < arrays.size(); ++i) {
      if (!is_pointer(i)) continue;
      Array &a = arrays[i];
      const std::string name = function.parameters[i];
      a.width = std::max<int64_t>(1, function.widths[i]);
      if (function.widths[i] == 0 && dtype >= 0) {
        const bool other = from >= 0 && name == "x";
        a.dtype = static_cast<int32_t>(arguments[other ? from : dtype].integer);
        // Beside bf16, what adds up is f32.
        static const std::set<std::string> kSums = {
            "lse", "bias", "dbias", "cells", "initial_cell", "dlast_cell", "dinitial_cell"};
        // A fast-weight memory rounds its tokens alone.
        static const std::set<std::string> kTokens = {"q",  "k",  "v",  "out",
                                                      "dq", "dk", "dv", "dout"};
        const bool sums =
            find("decay_size") >= 0 ? kTokens.count(name) == 0 : kSums.count(name) > 0;
        if (a.dtype == PND_BF16 && sums) a.dtype = PND_F32;
        a.width = a.dtype == PND_F64 ? 8 : a.dtype == PND_BF16 ? 2 : 4;
      }
      a.count = 1;
      for (const Sum &size : stated[i].shape) a.count *= value(size);
      if (stated[i].range) {
        const Range &r = *stated[i].range;
        a.range = {value(r.low), value(r.high) + (r.closed ? 1 : 0)};
      }
    }
  }

  bool fits(double most) const {
    double work = 1;
    for (size_t i = 0; i < arguments.size(); ++i) {
      if (is_size(i) && std::strncmp(function.parameters[i], "mask_", 5) != 0) {
        work *= static_cast<double>(std::max<int64_t>(1, arguments[i].integer));
      }
      if (is_pointer(i) && arrays[i].count * arrays[i].width > budget.bytes) return false;
    }
    return work <= most;
  }

  void halve_largest() {
    int largest = -1;
    for (size_t i = 0; i < arguments.size(); ++i) {
      if (is_size(i) && (largest < 0 || arguments[i].integer > arguments[largest].integer)) {
        largest = static_cast<int>(i);
      }
    }
    if (arguments[largest].integer <= 4) group_ = 1;
    arguments[largest].integer = (arguments[largest].integer + 1) / 2;
  }

  template <class T>
  static T number(int content, std::mt19937_64 &bits) {
    using L = std::numeric_limits<T>;
    constexpr T kExtremes[] = {0,        -T{0},           L::infinity(),    -L::infinity(),
                               L::max(), L::quiet_NaN(),  L::lowest(),      L::min(),
                               T{1},     L::denorm_min(), -L::denorm_min(), L::min() / 4,
                               -T{1},    T{88},           T{-104},          T{0.5}};
    const uint64_t word = bits();
    const T normal = static_cast<T>((static_cast<double>(word >> 11) * 0x1p-53 - 0.5) * 4);
    switch (content) {
      case 1:
        return 0;
      case 2:
        return kExtremes[word % std::size(kExtremes)];
      case 3:
        return normal * std::sqrt(L::max());
      case 4:
        return normal * L::min();
      case 5:
        return static_cast<T>(static_cast<int>(word % 5) - 2);
      case 6:
        return word % 17 == 0 ? L::quiet_NaN() : normal;
      case 7:
        return word % 3 == 0 ? -L::infinity() : normal;
      case 8: {
        using U = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
        return std::bit_cast<T>(static_cast<U>(word));
      }
      case 9:
        return std::abs(normal);
      default:
        return normal;
    }
  }

  void fill_arrays() {
    std::mt19937_64 bits(seed);
    for (size_t i = 0; i < arrays.size(); ++i) {
      Array &a = arrays[i];
      if (!a.given) continue;
      a.bytes.resize(static_cast<size_t>(a.size()));
      const auto each = [&](auto type, auto &&make) {
        using T = decltype(type);
        for (size_t at = 0; at + sizeof(T) <= a.bytes.size(); at += sizeof(T)) {
          const T x = make();
          std::memcpy(&a.bytes[at], &x, sizeof x);
        }
      };
      if (a.dtype == PND_F32) {
        each(float{}, [&] { return number<float>(a.content, bits); });
      } else if (a.dtype == PND_F64) {
        each(double{}, [&] { return number<double>(a.content, bits); });
      } else if (a.dtype == PND_BF16) {
        each(uint16_t{}, [&] {
          const auto f = std::bit_cast<uint32_t>(number<float>(a.content, bits));
          return static_cast<uint16_t>(f >> 16);
        });
      } else if (a.width == 4 && !a.written && a.dtype < 0) {
        fill_index(i, bits);
      } else {
        each(char{}, [&] { return static_cast<char>(bits()); });
      }
    }
  }

  void fill_index(size_t i, std::mt19937_64 &bits) {
    Array &a = arrays[i];
    std::vector<int32_t> index(static_cast<size_t>(a.count));
    const double low = a.range ? a.range->first : 0, high = a.range ? a.range->second : 40;
    const auto span = static_cast<uint64_t>(std::max(1.0, high - low));
    for (int32_t &x : index) x = static_cast<int32_t>(low) + static_cast<int32_t>(bits() % span);
    const std::string name = function.parameters[i];
    // Most steps clear no state.
    if (name == "resets") {
      for (int32_t &x : index) x = bits() % 8 == 0 ? static_cast<int32_t>(bits() % 5) - 2 : 0;
    }
    // The places where packed sequences start and end.
    if (name == "q_starts" || name == "k_starts") {
      const int64_t steps = integer(name == "q_starts" ? "q_steps" : "k_steps");
      for (int32_t &x : index) x = static_cast<int32_t>(bits() % (steps + 1));
      std::sort(index.begin(), index.end());
      index.front() = 0;
      index.back() = static_cast<int32_t>(steps);
    }
    std::memcpy(a.bytes.data(), index.data(), a.bytes.size());
  }

  // Breaks one rule of the header, where the call has something to break it with.
  void spoil(Bytes &bytes) {
    const int kind = bytes.below(7);
    const auto start =
        static_cast<size_t>(bytes.below(256)) % std::max<size_t>(1, arguments.size());
    for (size_t n = 0; n < arguments.size() && must_refuse.empty(); ++n) {
      const size_t i = (start + n) % arguments.size();
      if (is_pointer(i)) {
        spoil_array(kind, i, bytes);
      } else if (is_size(i)) {
        spoil_size(kind, i, bytes);
      } else if (kind == 5 && std::strcmp(function.parameters[i], "dtype") == 0) {
        constexpr int32_t kUnknown[] = {-1, 4, 7, 1 << 30, std::numeric_limits<int32_t>::min()};
        arguments[i].integer = bytes.pick(kUnknown);
        must_refuse = "an unknown dtype";
      }
    }
  }

  void spoil_array(int kind, size_t i, Bytes &bytes) {
    Array &a = arrays[i];
    const std::string name = function.parameters[i];
    if (!a.given) return;
    if (kind == 0 && !stated[i].nullable) {
      a.given = false;
      must_refuse = name + " is null";
    } else if (kind == 1 && a.width > 1) {
      moved = onto = static_cast<int>(i);
      shift = -1 - bytes.below(static_cast<int>(a.width) - 1);
      must_refuse = name + " is misaligned";
    } else if (kind == 2 && a.written) {
      const auto first = static_cast<size_t>(bytes.below(256)) % arrays.size();
      for (size_t n = 0; n < arrays.size() && moved < 0; ++n) {
        const size_t j = (first + n) % arrays.size();
        const Array &b = arrays[j];
        if (j == i || !b.given) continue;
        const int side = bytes.below(3);
        const int64_t common = std::max(a.width, b.width);
        moved = static_cast<int>(j);
        onto = static_cast<int>(i);
        shift = side == 0 || std::min(a.size(), b.size()) < common ? 0
                : side == 1                                        ? a.size() - common
                                                                   : common - b.size();
        must_refuse = name + " and " + function.parameters[j] + " overlap";
      }
    } else if (kind == 6 && a.range) {
      int32_t *index = reinterpret_cast<int32_t *>(a.bytes.data());
      const double wrong = bytes.below(2) == 0 ? a.range->first - 1 : a.range->second;
      if (std::abs(wrong) > 0x1p31 - 1) return;
      index[seed % static_cast<uint64_t>(a.count)] = static_cast<int32_t>(wrong);
      must_refuse = name + " has a value outside its range";
    }
  }

  void spoil_size(int kind, size_t i, Bytes &bytes) {
    const std::string name = function.parameters[i];
    if (kind == 3) {
      constexpr int64_t kSmall[] = {-1, 0, -4, kLeast, -(int64_t{1} << 32), kLeast + 1};
      const int64_t size = bytes.pick(kSmall);
      arguments[i].integer = size == 0 && name == "segments" ? -1 : size;
      must_refuse = name + " is below 1";
    } else if (kind == 4) {
      const std::vector<Argument> before = arguments;
      constexpr int64_t kHuge[] = {kMost,
                                   int64_t{1} << 62,
                                   kMost / 2 + 1,
                                   int64_t{1} << 40,
                                   (int64_t{1} << 32) + 1,
                                   int64_t{1} << 31};
      const int64_t size = bytes.pick(kHuge);
      arguments[i].integer = size;
      if (!overflows()) {
        for (size_t j = 0; j < arguments.size(); ++j) {
          if (is_size(j)) arguments[j].integer = size;
        }
      }
      if (overflows()) {
        must_refuse = "its sizes overflow";
      } else {
        arguments = before;
      }
    }
  }

  // Whether an array takes more than 2^63 bytes; 2^63 - 1 of a text are a size like others.
  bool overflows() const {
    for (size_t i = 0; i < arrays.size(); ++i) {
      if (!arrays[i].given) continue;
      double size = static_cast<double>(arrays[i].width);
      for (const Sum &s : stated[i].shape) size *= value(s);
      if (size > 0x1p63) return true;
    }
    return false;
  }

  int64_t group_ = 1, share_of_room_ = 0;
  std::array<bool, 3> broadcast_{};
  bool scalar_decay_ = false;
};
