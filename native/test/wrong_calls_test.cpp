// SPDX-License-Identifier: Apache-2.0
// Wrong calls straight through the C ABI: each gives its status and one sentence, writes nothing
// outside of its outputs, and leaves the context usable. The calls are made from the header: one
// valid call per function, in which one argument after the other is spoilt.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <functional>
#include <limits>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "functions.h"
#include "machines.h"

namespace {

constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
constexpr int64_t kLeast = std::numeric_limits<int64_t>::min();
constexpr int64_t kBlock = 4096;  // bytes of each array: more than any of the calls below touches

// Functions that work without a context, and those that have no numbers to spoil.
const std::set<std::string> kFree = {"pnd_message", "pnd_abi_version", "pnd_build"};
const std::set<std::string> kAnyType = {"pnd_fill", "pnd_broadcast", "pnd_swap_axes", "pnd_slice",
                                        "pnd_pad",  "pnd_put",       "pnd_concat",    "pnd_gather"};
const std::set<std::string> kBf16 = {"pnd_cast",         "pnd_matmul",
                                     "pnd_attention",    "pnd_attention_backward",
                                     "pnd_gru",          "pnd_gru_backward",
                                     "pnd_lstm",         "pnd_lstm_backward",
                                     "pnd_fast_weights", "pnd_fast_weights_backward"};
const std::set<std::string> kNullable = {"mask", "dmask", "resets", "lengths", "dlast_cell"};
// Of fast-weight memory alone.
const std::set<std::string> kNullableMemory = {"decay",  "rate",    "erase",   "write",
                                               "ddecay", "drate",   "derase",  "dwrite",
                                               "dlast",  "initial", "dinitial"};

// Of feedback memory alone; its past is there or not as a whole.
const std::set<std::string> kNullableFeedback = {"dkeys", "dvalues", "first", "resets", "lengths"};
// Of pnd_mask alone.
const std::set<std::string> kNullableOfMask = {
    "log_probability", "inclusion", "weight", "corrupted", "label", "logits", "eligible"};

bool is_fast_weights(const Function &f) {
  return std::strncmp(f.name, "pnd_fast_weights", 16) == 0;
}
bool is_feedback(const Function &f) { return std::strncmp(f.name, "pnd_feedback", 12) == 0; }
bool is_nullable(const Function &f, size_t i) {
  const std::string name = f.parameters[i];
  if (std::strcmp(f.name, "pnd_mask") == 0) return kNullableOfMask.count(name) > 0;
  if (is_feedback(f)) return kNullableFeedback.count(name) > 0;
  return kNullable.count(name) > 0 || (is_fast_weights(f) && kNullableMemory.count(name) > 0);
}

// Whether an int64_t parameter is a size: not a place to start at, nor part of a random stream, nor
// 0 for none.
bool is_size(const Function &f, size_t i) {
  const std::string name = f.parameters[i];
  const bool random = std::strcmp(f.name, "pnd_philox") == 0;
  return f.kinds[i] == Kind::Int64 && name != "start" && name != "row" && name != "key" &&
         name != "window" && name != "past" && name != "chunk" && name != "k" &&
         name != "mask_token" && !(random && name == "first");
}

// Whether a function may take packed sequences, which exclude lengths.
bool packs(const Function &f) {
  return std::any_of(f.parameters.begin(), f.parameters.end(),
                     [](const char *name) { return std::strcmp(name, "q_starts") == 0; });
}

bool is_pointer(Kind kind) { return kind == Kind::Written || kind == Kind::Read; }

// A function with valid arguments: sizes of 1, arrays of zeros; attention packs its one sequence,
// fast-weight memory has a rate.
struct Valid {
  const Function &function;
  std::vector<std::vector<char>> blocks;
  std::vector<Argument> arguments;

  explicit Valid(const Function &f) : function(f) {
    for (size_t i = 0; i < f.parameters.size(); ++i) {
      const std::string name = f.parameters[i];
      Argument argument{};
      if (is_pointer(f.kinds[i])) {
        argument.pointer = block();
        // Steps are counted from 1.
        if (name == "step") *static_cast<int32_t *>(argument.pointer) = 1;
        if (name == "q_starts" || name == "k_starts") {
          static_cast<int32_t *>(argument.pointer)[1] = 1;
        }
        if (name == "lengths" && packs(f)) argument.pointer = nullptr;
        for (const char *other : {"erase", "write", "derase", "dwrite"}) {
          if (name == other) argument.pointer = nullptr;
        }
      } else if (f.kinds[i] == Kind::Double) {
        argument.real = 0.5;
      } else {
        const bool zero = !is_size(f, i);
        argument.integer = zero ? 0 : name == "head_size" ? 2 : 1;
      }
      arguments.push_back(argument);
    }
  }

  // With lengths, which exclude attention's packing, and a memory's erase, which excludes its rate.
  Valid &unpacked() {
    at("lengths").pointer = block();
    for (size_t i = 0; i < arguments.size(); ++i) {
      const std::string name = function.parameters[i];
      for (const char *other : {"q_starts", "k_starts", "rate", "drate"}) {
        if (name == other) arguments[i].pointer = nullptr;
      }
      for (const char *other : {"erase", "write", "derase", "dwrite"}) {
        if (name == other) arguments[i].pointer = block();
      }
      if (name == "segments") arguments[i].integer = 0;
    }
    return *this;
  }

  // Zeroed bytes aligned to 64 with free ones around them.
  char *block() {
    blocks.emplace_back(kBlock, 0);
    char *data = blocks.back().data();
    return data + 64 + (64 - reinterpret_cast<uintptr_t>(data) % 64) % 64;
  }

  Argument &at(const char *name) {
    for (size_t i = 0; i < arguments.size(); ++i) {
      if (std::strcmp(function.parameters[i], name) == 0) return arguments[i];
    }
    throw std::runtime_error(std::string(function.name) + " has no " + name);
  }
  Valid &set(const char *name, int64_t value) {
    at(name).integer = value;
    return *this;
  }
  // Writes the first number of an index array.
  Valid &index(const char *name, int32_t value) {
    std::memcpy(at(name).pointer, &value, sizeof value);
    return *this;
  }
};

class WrongCalls : public testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(pnd_open(&context_, 0, 1, 64 << 20), PND_OK); }
  void TearDown() override { ASSERT_EQ(pnd_close(context_), PND_OK); }

  int32_t call(const Valid &valid, pnd_context *context) {
    // The program is linked with the library it tests.
    void *symbol = dlsym(RTLD_DEFAULT, valid.function.name);
    if (symbol == nullptr) {
      ADD_FAILURE() << valid.function.name << " is not in the library";
      return PND_UNSUPPORTED;
    }
    return valid.function.call(symbol, context, valid.arguments.data());
  }

  static std::string message(pnd_context *context) {
    char text[512] = "";
    EXPECT_EQ(pnd_message(context, text, sizeof text), PND_OK);
    return text;
  }

  // Expects one of the statuses and a sentence with the function's name and that word.
  void refuses(const Valid &valid, std::set<int32_t> statuses, const std::string &word,
               const std::string &what) {
    ++refused_;
    const std::string name = valid.function.name;
    const int32_t status = call(valid, context_);
    EXPECT_TRUE(statuses.count(status) > 0) << name << ": " << what << " gave status " << status;
    if (status == PND_OK || kFree.count(name) > 0) return;
    const std::string sentence = message(context_);
    EXPECT_EQ(sentence.rfind(name.substr(4) + ": ", 0), 0u) << name << ": " << sentence;
    EXPECT_NE(sentence.find(word), std::string::npos) << name << ": " << what << ": " << sentence;
  }
  // Expects a value in memory to be refused, on a CUDA library when it waits.
  void refuses_value(const Valid &valid, const std::string &word) {
    const std::string name = valid.function.name + 4;
    EXPECT_EQ(found(call(valid, context_), context_), PND_BAD_ARGUMENT) << name << ": " << word;
    const std::string sentence = message(context_);
    EXPECT_NE(sentence.find(name + ": " + word), std::string::npos) << sentence;
    EXPECT_EQ(pnd_synchronize(context_), PND_OK) << "is told once: " << message(context_);
  }
  void refuses(const Valid &valid, const std::string &word, const std::string &what) {
    refuses(valid, {PND_BAD_ARGUMENT}, word, what);
  }

  // Every function that can be called with made-up arguments: not those that take what another
  // one gave, nor those around a recording.
  static std::vector<const Function *> all() {
    const std::set<std::string> left_out = {"pnd_close",    "pnd_release", "pnd_record",
                                            "pnd_recorded", "pnd_launch",  "pnd_release_graph"};
    std::vector<const Function *> result;
    for (const Function &f : functions()) {
      if (left_out.count(f.name) == 0) result.push_back(&f);
    }
    return result;
  }

  static const Function &find(const std::string &name) {
    for (const Function &f : functions()) {
      if (name == f.name) return f;
    }
    throw std::runtime_error("no function " + name);
  }

  pnd_context *context_ = nullptr;
  int refused_ = 0;
};

TEST_F(WrongCalls, TheValidCallsAreValid) {
  for (const Function *f : all()) {
    EXPECT_EQ(call(Valid(*f), context_), PND_OK) << f->name << ": " << message(context_);
  }
  EXPECT_GE(all().size(), 55u);
}

TEST_F(WrongCalls, NullPointersAreRefusedOneByOne) {
  for (const Function *f : all()) {
    for (size_t i = 0; i < f->kinds.size(); ++i) {
      if (!is_pointer(f->kinds[i]) || is_nullable(*f, i)) continue;
      Valid valid(*f);
      valid.arguments[i].pointer = nullptr;
      refuses(valid, f->parameters[i], "null " + std::string(f->parameters[i]));
    }
  }
  EXPECT_GE(refused_, 100);
}

TEST_F(WrongCalls, ANullContextIsRefused) {
  for (const Function *f : all()) {
    Valid valid(*f);
    const bool free = kFree.count(f->name) > 0;
    EXPECT_EQ(call(valid, nullptr), free ? PND_OK : PND_BAD_ARGUMENT) << f->name;
    if (free) continue;
    EXPECT_EQ(message(nullptr), std::string(f->name + 4) + ": context is null");
  }
  void *graph = nullptr;
  EXPECT_EQ(pnd_close(nullptr), PND_BAD_ARGUMENT);
  EXPECT_EQ(pnd_release(nullptr, nullptr), PND_BAD_ARGUMENT);
  EXPECT_EQ(pnd_record(nullptr), PND_BAD_ARGUMENT);
  EXPECT_EQ(pnd_recorded(nullptr, &graph), PND_BAD_ARGUMENT);
  EXPECT_EQ(pnd_launch(nullptr, nullptr), PND_BAD_ARGUMENT);
  EXPECT_EQ(pnd_release_graph(nullptr, nullptr), PND_BAD_ARGUMENT);
}

TEST_F(WrongCalls, MisalignedArraysAreRefusedOneByOne) {
  const std::set<std::string> bytes = {"text", "to", "from"};
  for (const Function *f : all()) {
    for (size_t i = 0; i < f->kinds.size(); ++i) {
      const std::string name = f->parameters[i];
      if (!is_pointer(f->kinds[i]) || bytes.count(name) > 0) continue;
      for (int off : {1, 2, 3}) {
        Valid valid(*f);
        if (valid.arguments[i].pointer == nullptr) valid.unpacked();
        valid.arguments[i].pointer = static_cast<char *>(valid.arguments[i].pointer) + off;
        refuses(valid, name, "misaligned " + name);
      }
    }
  }
  EXPECT_GE(refused_, 300);
}

TEST_F(WrongCalls, AnOutputMayShareNoByteWithAnotherArgument) {
  for (const Function *f : all()) {
    for (size_t i = 0; i < f->kinds.size(); ++i) {
      for (size_t j = 0; j < f->kinds.size(); ++j) {
        if (i == j || f->kinds[i] != Kind::Written || !is_pointer(f->kinds[j])) continue;
        Valid valid(*f);
        Argument &one = valid.arguments[i], &other = valid.arguments[j];
        if (one.pointer == nullptr || other.pointer == nullptr) valid.unpacked();
        if (one.pointer == nullptr || other.pointer == nullptr) continue;  // a call has only one
        other.pointer = one.pointer;
        refuses(valid, "overlap", std::string(f->parameters[i]) + " = " + f->parameters[j]);
      }
    }
  }
  EXPECT_GE(refused_, 150);
  // One element in common, from either side.
  for (int off : {-4, 4}) {
    Valid valid(find("pnd_affine"));
    valid.set("n", 2).at("x").pointer = static_cast<char *>(valid.at("y").pointer) + off;
    refuses(valid, "overlap", "x one element from y");
    Valid bytes(find("pnd_copy"));
    bytes.set("bytes", 5).at("from").pointer = static_cast<char *>(bytes.at("to").pointer) + off;
    refuses(bytes, "overlap", "one byte in common");
  }
  // Neighbours do not overlap, and inputs may be the same array.
  Valid neighbours(find("pnd_affine"));
  neighbours.at("x").pointer = static_cast<char *>(neighbours.at("y").pointer) + 4;
  EXPECT_EQ(call(neighbours, context_), PND_OK);
  Valid square(find("pnd_mul"));
  square.at("b").pointer = square.at("a").pointer;
  EXPECT_EQ(call(square, context_), PND_OK);
}

TEST_F(WrongCalls, SizesBelowOneAreRefusedOneByOne) {
  for (const Function *f : all()) {
    for (size_t i = 0; i < f->kinds.size(); ++i) {
      if (!is_size(*f, i)) continue;
      for (int64_t size : {int64_t{0}, int64_t{-1}, int64_t{-4}, -(int64_t{1} << 32), kLeast}) {
        Valid valid(*f);
        valid.arguments[i].integer = size;
        refuses(valid, "", f->parameters[i] + (" = " + std::to_string(size)));
      }
    }
  }
  EXPECT_GE(refused_, 400);
}

TEST_F(WrongCalls, SizesWhoseProductOverflowsAreRefused) {
  // Not arrays whose bytes are counted in int64_t: any count of bytes is a size by itself.
  const std::set<std::string> bytes = {"capacity", "bytes"};
  for (const Function *f : all()) {
    int sizes = 0;
    Valid large(*f);
    for (size_t i = 0; i < f->kinds.size(); ++i) {
      const std::string name = f->parameters[i];
      if (!is_size(*f, i) || bytes.count(name) > 0) continue;
      ++sizes;
      large.arguments[i].integer = int64_t{1} << 40;
      for (int64_t size : {kMost, kMost - 1, kMost / 2 + 1}) {
        Valid valid(*f);
        valid.arguments[i].integer = size;
        refuses(valid, "", f->parameters[i] + (" = " + std::to_string(size)));
      }
    }
    if (sizes > 1) refuses(large, "", "all sizes 2^40");
  }
  EXPECT_GE(refused_, 250);
}

TEST_F(WrongCalls, UnknownAndUnsupportedTypesAreRefused) {
  for (const Function *f : all()) {
    for (size_t i = 0; i < f->kinds.size(); ++i) {
      const std::string name = f->parameters[i];
      if (f->kinds[i] != Kind::Int32 || (name != "dtype" && name != "from")) continue;
      for (int32_t dtype : {-1, 4, 7, 1 << 30, std::numeric_limits<int32_t>::min()}) {
        Valid valid(*f);
        valid.arguments[i].integer = dtype;
        refuses(valid, {PND_BAD_ARGUMENT, PND_UNSUPPORTED}, name, name);
      }
      for (int32_t dtype : {PND_I32, PND_BF16}) {
        Valid other(*f);
        other.arguments[i].integer = dtype;
        if (kAnyType.count(f->name) > 0 || (dtype == PND_BF16 && kBf16.count(f->name) > 0)) {
          EXPECT_EQ(call(other, context_), PND_OK) << f->name << ": " << message(context_);
        } else {
          refuses(other, {PND_UNSUPPORTED}, name, name + (dtype == PND_I32 ? " i32" : " bf16"));
        }
      }
    }
  }
  EXPECT_GE(refused_, 200);
}

TEST_F(WrongCalls, IndicesOutsideTheirRangeAreRefusedWithPlaceAndValue) {
  struct Case {
    const char *function, *index;
    std::vector<int32_t> wrong, right;
  };
  const int32_t most = std::numeric_limits<int32_t>::max(), least = -most - 1;
  const std::vector<Case> cases = {
      {"pnd_gather", "index", {-1, 1, most, least}, {0}},
      {"pnd_scatter_add", "index", {-1, 1, most, least}, {0}},
      {"pnd_one_hot", "index", {-2, 1, most, least}, {-1, 0}},
      {"pnd_cross_entropy", "target", {-2, 1, most, least}, {-1, 0}},
      {"pnd_cross_entropy_backward", "target", {-2, 1, most, least}, {-1, 0}},
      {"pnd_put", "start", {-1, 1, most, least}, {0}},
      {"pnd_attention", "lengths", {-1, 2, most, least}, {0, 1}},
      {"pnd_attention", "q_starts", {-1, 1, most, least}, {0}},
      {"pnd_attention", "k_starts", {-1, 1, most, least}, {0}},
      {"pnd_attention_backward", "lengths", {-1, 2, most, least}, {0, 1}},
      {"pnd_attention_backward", "q_starts", {-1, 1, most, least}, {0}},
      {"pnd_attention_backward", "k_starts", {-1, 1, most, least}, {0}},
      {"pnd_gru", "lengths", {-1, 2, most, least}, {0, 1}},
      {"pnd_gru_backward", "lengths", {-1, 2, most, least}, {0, 1}},
      {"pnd_lstm", "lengths", {-1, 2, most, least}, {0, 1}},
      {"pnd_lstm_backward", "lengths", {-1, 2, most, least}, {0, 1}},
      {"pnd_feedback", "first", {-1, 1, most, least}, {0}},
      {"pnd_feedback", "lengths", {-1, 2, most, least}, {0, 1}},
      {"pnd_feedback_backward", "first", {-1, 1, most, least}, {0}},
      {"pnd_feedback_backward", "lengths", {-1, 2, most, least}, {0, 1}},
      {"pnd_fast_weights", "lengths", {-1, 2, most, least}, {0, 1}},
      {"pnd_fast_weights_backward", "lengths", {-1, 2, most, least}, {0, 1}},
      {"pnd_adamw", "step", {0, -1, least}, {1, 2, most}},
  };
  for (const Case &c : cases) {
    for (int32_t value : c.wrong) {
      Valid valid(find(c.function));
      if (valid.at(c.index).pointer == nullptr) valid.unpacked();
      valid.index(c.index, value);
      refuses_value(valid, std::string(c.index) + "[0] = " + std::to_string(value));
    }
    for (int32_t value : c.right) {
      Valid valid(find(c.function));
      if (valid.at(c.index).pointer == nullptr) valid.unpacked();
      valid.index(c.index, value);
      EXPECT_EQ(call(valid, context_), PND_OK) << c.function << ": " << message(context_);
      EXPECT_EQ(pnd_synchronize(context_), PND_OK) << c.function << ": " << message(context_);
    }
  }
  // The last of several indices.
  Valid valid(find("pnd_gather"));
  const int32_t index[] = {1, 0, 2};
  std::memcpy(valid.at("index").pointer, index, sizeof index);
  refuses_value(valid.set("count", 3).set("rows", 2), "index[2] = 2");
}

TEST_F(WrongCalls, RangesThatLeaveTheirAxisAreRefused) {
  for (const char *name : {"pnd_slice", "pnd_pad"}) {
    const Function &f = find(name);
    refuses(Valid(f).set("start", -1), "start", "start -1");
    refuses(Valid(f).set("start", kLeast), "start", "the least start");
    refuses(Valid(f).set("start", 1), "start", "start at the end");
    refuses(Valid(f).set("start", kMost), "start", "start + count overflows");
    refuses(Valid(f).set("count", 2), "", "count beyond size");
    refuses(Valid(f).set("size", 4).set("count", 3).set("start", 2), "start", "one too far");
    EXPECT_EQ(call(Valid(f).set("size", 4).set("count", 3).set("start", 1), context_), PND_OK);
  }
}

TEST_F(WrongCalls, OtherRulesAreKept) {
  for (const char *name : {"pnd_attention", "pnd_attention_backward"}) {
    for (const char *size : {"mask_batch", "mask_heads", "mask_steps"}) {
      refuses(Valid(find(name)).set(size, 2), size, "a mask size that is neither 1 nor full");
    }
    refuses(Valid(find(name)).set("head_size", 257), "head_size", "a head size beyond 256");
    Valid none(find(name));
    none.at("mask").pointer = nullptr;
    none.unpacked().at("lengths").pointer = nullptr;
    if (std::string(name) == "pnd_attention_backward") none.at("dmask").pointer = nullptr;
    EXPECT_EQ(call(none, context_), PND_OK) << name << ": " << message(context_);
  }
  for (const char *name : {"pnd_fast_weights", "pnd_fast_weights_backward"}) {
    const Function &f = find(name);
    refuses(Valid(f).set("decay_size", 2), "decay_size", "a decay size that is neither 1 nor keys");
    for (const char *size : {"keys", "values"})
      refuses(Valid(f).set(size, 257), size, "beyond 256");
    for (const char *flag : {"features", "normalised"}) refuses(Valid(f).set(flag, 2), flag, "a 2");
    refuses(Valid(f).set("normalised", 1), "normalised", "a quotient with a rate");
    Valid both(f);
    both.at("erase").pointer = both.block();
    refuses(both, "erase and write", "erase alone");
    both.at("write").pointer = both.block();
    refuses(both, "rate", "a rate and erase");
  }
  for (int64_t chunk : {int64_t{-1}, int64_t{257}, kMost}) {
    refuses(Valid(find("pnd_fast_weights")).set("chunk", chunk), "chunk", "no such chunk");
  }
  for (const char *name : {"ddecay", "drate", "dinitial"}) {
    Valid without(find("pnd_fast_weights_backward"));
    without.at(name).pointer = nullptr;
    refuses(without, name, "no adjoint of an input");
  }
  for (const char *name : {"pnd_rotary", "pnd_rotary_backward"}) {
    refuses(Valid(find(name)).set("head_size", 1), "head_size", "an odd head size");
    refuses(Valid(find(name)).set("head_size", 3), "head_size", "an odd head size");
  }
  for (const char *name : {"pnd_feedback", "pnd_feedback_backward"}) {
    const Function &f = find(name);
    for (int64_t size : {1, 3, 258}) {
      refuses(Valid(f).set("head_size", size), "head_size", "an odd head size, or beyond 256");
    }
    refuses(Valid(f).set("kv_heads", 2), "heads = 1", "heads that are no multiple of kv_heads");
    for (int64_t past : {int64_t{-1}, int64_t{2}, kMost, kLeast}) {
      refuses(Valid(f).set("past", past), "past", "a past beyond its room");
    }
    for (int64_t window : {int64_t{-1}, kMost}) {
      refuses(Valid(f).set("window", window), "window", "no such window");
    }
    Valid none(f);
    none.at("past_keys").pointer = none.at("past_values").pointer = nullptr;
    const bool back = std::string(name) == "pnd_feedback_backward";
    if (back) {
      refuses(none, "dpast_keys", "the adjoint of no past");
      none.at("dpast_keys").pointer = none.at("dpast_values").pointer = nullptr;
    }
    EXPECT_EQ(call(none, context_), PND_OK) << name << ": " << message(context_);
    refuses(none.set("past", 1), "past = 1", "a past that is not there");
    EXPECT_EQ(call(Valid(f).set("past", 1), context_), PND_OK) << message(context_);
  }
}

TEST_F(WrongCalls, WhatAMaskMayLeaveOutIsAllowed) {
  const Function &f = find("pnd_mask");
  Valid none(f);
  for (size_t i = 0; i < f.kinds.size(); ++i) {
    if (!is_pointer(f.kinds[i]) || !is_nullable(f, i)) continue;
    Valid one(f);
    one.arguments[i].pointer = none.arguments[i].pointer = nullptr;
    for (int64_t scheme = PND_BERNOULLI; scheme <= PND_CANDIDATES; ++scheme) {
      EXPECT_EQ(call(one.set("scheme", scheme), context_), PND_OK) << message(context_);
      EXPECT_EQ(call(none.set("scheme", scheme), context_), PND_OK) << message(context_);
    }
  }
  for (const char *name : {"pnd_mask", "pnd_mask_backward"}) {
    refuses(Valid(find(name)).set("scheme", 6), "scheme", "a scheme that is none");
    refuses(Valid(find(name)).set("k", -1), "k = -1", "a negative number to choose");
    EXPECT_EQ(call(Valid(find(name)).set("k", kMost), context_), PND_OK) << message(context_);
  }
}

TEST_F(WrongCalls, OpeningIsRefusedWithASentence) {
  pnd_context *context = nullptr;
  EXPECT_EQ(pnd_open(nullptr, 0, 1, 0), PND_BAD_ARGUMENT);
  EXPECT_NE(message(nullptr).find("context"), std::string::npos);
  for (int32_t threads : {-1, std::numeric_limits<int32_t>::min()}) {
    EXPECT_EQ(pnd_open(&context, 0, threads, 0), PND_BAD_ARGUMENT);
    EXPECT_NE(message(nullptr).find("threads"), std::string::npos);
  }
  for (int64_t limit : {int64_t{-1}, kLeast}) {
    EXPECT_EQ(pnd_open(&context, 0, 1, limit), PND_BAD_ARGUMENT);
    EXPECT_NE(message(nullptr).find("memory_limit"), std::string::npos);
  }
  for (int32_t device : {-1, 1, std::numeric_limits<int32_t>::max()}) {
    EXPECT_EQ(pnd_open(&context, device, 1, 0), PND_UNSUPPORTED) << device;
    EXPECT_NE(message(nullptr).find("device"), std::string::npos) << message(nullptr);
    EXPECT_EQ(context, nullptr);
  }
}

TEST_F(WrongCalls, TextIsCutToItsCapacity) {
  void *memory = nullptr;
  EXPECT_EQ(pnd_allocate(context_, &memory, 0), PND_BAD_ARGUMENT);
  char text[16];
  std::memset(text, 'x', sizeof text);
  EXPECT_EQ(pnd_message(context_, text, 9), PND_OK);
  EXPECT_STREQ(text, "allocate");
  EXPECT_EQ(text[9], 'x');
  EXPECT_EQ(pnd_build(context_, text, 4), PND_OK);
  EXPECT_EQ(text, build_name().substr(0, 3));
  EXPECT_EQ(pnd_message(context_, text, 0), PND_BAD_ARGUMENT);
  EXPECT_EQ(pnd_build(context_, text, kLeast), PND_BAD_ARGUMENT);
}

TEST_F(WrongCalls, MemoryBeyondTheLimitIsRefused) {
  void *memory = nullptr;
  for (int64_t bytes : {kMost, kMost - 63, int64_t{1} << 50, (int64_t{64} << 20) + 1}) {
    EXPECT_EQ(pnd_allocate(context_, &memory, bytes), PND_OUT_OF_MEMORY) << bytes;
    EXPECT_NE(message(context_).find(std::to_string(bytes)), std::string::npos)
        << message(context_);
  }
  int64_t used = 0, peak = 0, limit = 0;
  ASSERT_EQ(pnd_allocate(context_, &memory, 48 << 20), PND_OK);
  void *more = nullptr;
  EXPECT_EQ(pnd_allocate(context_, &more, 17 << 20), PND_OUT_OF_MEMORY);
  ASSERT_EQ(pnd_memory(context_, &used, &peak, &limit), PND_OK);
  EXPECT_EQ(used, 48 << 20);
  EXPECT_EQ(limit, 64 << 20);
  ASSERT_EQ(pnd_release(context_, memory), PND_OK);
  ASSERT_EQ(pnd_allocate(context_, &more, 17 << 20), PND_OK);
  ASSERT_EQ(pnd_release(context_, more), PND_OK);
  ASSERT_EQ(pnd_memory(context_, &used, &peak, &limit), PND_OK);
  EXPECT_EQ(used, 0);
  EXPECT_EQ(peak, 48 << 20);
}

TEST_F(WrongCalls, ScratchBeyondTheLimitIsRefused) {
  pnd_context *small = nullptr;
  ASSERT_EQ(pnd_open(&small, 0, 1, 256), PND_OK);
  constexpr int64_t rows = 300, cols = 64;
  std::vector<float> x(rows * cols), dx(rows * cols), rest(7 * rows);
  float *dgain = rest.data(), *dbias = dgain + cols, *mean = dbias + cols, *rstd = mean + rows;
  EXPECT_EQ(pnd_layer_norm_backward(small, PND_F32, dx.data(), dgain, dbias, x.data(), x.data(),
                                    x.data(), mean, rstd, rows, cols),
            PND_OUT_OF_MEMORY);
  EXPECT_NE(message(small).find("layer_norm_backward: "), std::string::npos) << message(small);
  EXPECT_EQ(pnd_copy(small, dx.data(), x.data(), 4), PND_OK);
  EXPECT_EQ(pnd_close(small), PND_OK);
}

TEST_F(WrongCalls, OnlyHeldMemoryIsReleased) {
  char foreign[64];
  void *memory = nullptr;
  ASSERT_EQ(pnd_allocate(context_, &memory, 100), PND_OK);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(memory) % 64, 0u);
  const std::vector<void *> wrong = {nullptr, foreign, static_cast<char *>(memory) + 1,
                                     static_cast<char *>(memory) + 64};
  for (void *pointer : wrong) {
    EXPECT_EQ(pnd_release(context_, pointer), PND_BAD_ARGUMENT);
    EXPECT_EQ(message(context_).rfind("release: ", 0), 0u);
  }
  pnd_context *other = nullptr;
  ASSERT_EQ(pnd_open(&other, 0, 1, 0), PND_OK);
  EXPECT_EQ(pnd_release(other, memory), PND_BAD_ARGUMENT);
  EXPECT_EQ(pnd_close(other), PND_OK);
  EXPECT_EQ(pnd_release(context_, memory), PND_OK);
  EXPECT_EQ(pnd_release(context_, memory), PND_BAD_ARGUMENT);
}

TEST_F(WrongCalls, ACallWhileAnotherRunsIsRefused) {
  const int64_t size = is_simulated() ? 64 : 512;
  std::vector<float> a(size * size), b(size * size), y(size * size);
  std::atomic<bool> stop{false};
  std::atomic<int> collisions{0};
  // Either thread may be the one that comes second.
  const auto refused = [&](int32_t status) {
    if (status == PND_OK) return false;
    EXPECT_EQ(status, PND_BAD_ARGUMENT);
    EXPECT_NE(message(nullptr).find("in use by another thread"), std::string::npos)
        << message(nullptr);
    ++collisions;
    return true;
  };
  std::thread other([&] {
    while (!stop) {
      refused(
          pnd_matmul(context_, PND_F32, y.data(), a.data(), b.data(), 1, size, size, size, 0, 0));
    }
  });
  int32_t threads = 0;
  for (int64_t tries = 0; tries < 100000000 && collisions == 0; ++tries) {
    refused(pnd_threads(context_, &threads));
  }
  stop = true;
  other.join();
  EXPECT_GT(collisions, 0);
}

TEST_F(WrongCalls, ARefusedCallLeavesTheContextUsable) {
  for (const Function *f : all()) {
    Valid wrong(*f);
    for (size_t i = 0; i < f->kinds.size(); ++i) {
      if (is_pointer(f->kinds[i])) wrong.arguments[i].pointer = nullptr;
    }
    call(wrong, context_);
    EXPECT_EQ(call(Valid(*f), context_), PND_OK) << f->name << ": " << message(context_);
  }
}

}  // namespace
