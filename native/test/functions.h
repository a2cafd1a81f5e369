// SPDX-License-Identifier: Apache-2.0
// functions.h: every function of the header as a value, so that a test can walk all of them and
// call each by name in any library. The list of names is generated from the header by
// functions.cmake; the types are the declarations' own.
#pragma once

#include <dlfcn.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <type_traits>
#include <utility>
#include <vector>

#include "ponder.h"

// One argument after the context, whatever its type.
union Argument {
  void *pointer;
  int64_t integer;
  double real;
};

// What a parameter is.
enum class Kind { Written, Read, Int32, Int64, Double };

struct Function {
  using Call = int32_t (*)(void *symbol, pnd_context *context, const Argument *arguments);
  const char *name;
  std::vector<const char *> parameters;
  std::vector<Kind> kinds;
  std::vector<int64_t> widths;  // bytes of what a pointer points to; 0 for void and for numbers
  Call call;
};

namespace function_detail {

template <class T>
constexpr Kind kind() {
  if constexpr (std::is_pointer_v<T>) {
    return std::is_const_v<std::remove_pointer_t<T>> ? Kind::Read : Kind::Written;
  } else if constexpr (std::is_same_v<T, double>) {
    return Kind::Double;
  } else {
    static_assert(std::is_same_v<T, int32_t> || std::is_same_v<T, int64_t>);
    return sizeof(T) == 4 ? Kind::Int32 : Kind::Int64;
  }
}

template <class T>
constexpr int64_t width() {
  if constexpr (!std::is_pointer_v<T> || std::is_void_v<std::remove_pointer_t<T>>) {
    return 0;
  } else {
    return sizeof(std::remove_pointer_t<T>);
  }
}

template <class T>
T take(const Argument &argument) {
  if constexpr (std::is_pointer_v<T>) {
    return static_cast<T>(argument.pointer);
  } else if constexpr (std::is_same_v<T, double>) {
    return argument.real;
  } else {
    return static_cast<T>(argument.integer);
  }
}

template <class F>
struct Signature;

template <class... A>
struct Signature<int32_t (*)(pnd_context *, A...)> {
  static std::vector<Kind> kinds() { return {kind<A>()...}; }
  static std::vector<int64_t> widths() { return {width<A>()...}; }
  static int32_t call(void *symbol, pnd_context *context, const Argument *arguments) {
    return call(symbol, context, arguments, std::index_sequence_for<A...>{});
  }
  template <size_t... I>
  static int32_t call(void *symbol, pnd_context *context,
                      [[maybe_unused]] const Argument *arguments, std::index_sequence<I...>) {
    return reinterpret_cast<int32_t (*)(pnd_context *, A...)>(symbol)(context,
                                                                      take<A>(arguments[I])...);
  }
};

}  // namespace function_detail

// Every function of the header but pnd_open, in the header's order.
inline const std::vector<Function> &functions() {
#define FUNCTION(name, ...)                               \
  {#name,                                                 \
   {__VA_ARGS__},                                         \
   function_detail::Signature<decltype(&name)>::kinds(),  \
   function_detail::Signature<decltype(&name)>::widths(), \
   &function_detail::Signature<decltype(&name)>::call},
  static const std::vector<Function> all = {
#include "functions.inc"
  };
#undef FUNCTION
  return all;
}

// A library opened by its path; a missing library or symbol ends the program with a sentence.
class TestLibrary {
 public:
  explicit TestLibrary(const char *path) : handle_(dlopen(path, RTLD_NOW | RTLD_LOCAL)) {
    if (handle_ == nullptr) fail(path, dlerror());
  }
  void *symbol(const char *name) const {
    void *found = dlsym(handle_, name);
    if (found == nullptr) fail(name, "is not exported by the library");
    return found;
  }
  template <class F>
  F as(const char *name) const {
    return reinterpret_cast<F>(symbol(name));
  }

 private:
  [[noreturn]] static void fail(const char *what, const char *why) {
    std::fprintf(stderr, "%s: %s\n", what, why);
    std::exit(2);
  }
  void *handle_;
};
