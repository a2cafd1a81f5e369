// SPDX-License-Identifier: Apache-2.0
// pack: several vectors as one value. A formula of packs runs through its chain of dependent
// operations once for all of them, so that the processor, which looks ahead a few hundred
// instructions, always finds independent ones. formulas.h takes a pack as its V.
#pragma once

#include "simd.h"

template <class V, int n>
struct Pack {
  V v[n];

  PND_INLINE Pack &operator+=(const Pack &x) { return *this = *this + x; }
};
template <class V, int n>
struct ElementOf<Pack<V, n>> {
  using type = Element<V>;
};

// f of each vector.
template <class F, class V, int n, class... W>
PND_INLINE auto per_vector(F &&f, const Pack<V, n> &a, const Pack<W, n> &...b) {
  Pack<decltype(f(a.v[0], b.v[0]...)), n> result;
  PND_UNROLL
  for (int i = 0; i < n; ++i) result.v[i] = f(a.v[i], b.v[i]...);
  return result;
}

template <class V, int n>
PND_INLINE auto operator-(const Pack<V, n> &a) {
  return per_vector([](V x) { return -x; }, a);
}
template <class V, int n>
PND_INLINE auto operator+(const Pack<V, n> &a, const Pack<V, n> &b) {
  return per_vector([](V x, V y) { return x + y; }, a, b);
}
template <class V, int n>
PND_INLINE auto operator-(const Pack<V, n> &a, const Pack<V, n> &b) {
  return per_vector([](V x, V y) { return x - y; }, a, b);
}
template <class V, int n>
PND_INLINE auto operator*(const Pack<V, n> &a, const Pack<V, n> &b) {
  return per_vector([](V x, V y) { return x * y; }, a, b);
}
template <class V, int n>
PND_INLINE auto operator/(const Pack<V, n> &a, const Pack<V, n> &b) {
  return per_vector([](V x, V y) { return x / y; }, a, b);
}
template <class V, int n>
PND_INLINE auto operator&(const Pack<V, n> &a, const Pack<V, n> &b) {
  return per_vector([](V x, V y) { return x & y; }, a, b);
}
template <class V, int n>
PND_INLINE auto operator|(const Pack<V, n> &a, const Pack<V, n> &b) {
  return per_vector([](V x, V y) { return x | y; }, a, b);
}
template <class V, int n>
PND_INLINE auto operator<(const Pack<V, n> &a, const Pack<V, n> &b) {
  return per_vector([](V x, V y) { return x < y; }, a, b);
}
template <class V, int n>
PND_INLINE auto operator>=(const Pack<V, n> &a, const Pack<V, n> &b) {
  return per_vector([](V x, V y) { return x >= y; }, a, b);
}
template <class V, int n>
PND_INLINE auto operator==(const Pack<V, n> &a, const Pack<V, n> &b) {
  return per_vector([](V x, V y) { return x == y; }, a, b);
}
template <class V, int n>
PND_INLINE auto operator-(Element<V> x, const Pack<V, n> &a) {
  return per_vector([=](V y) { return x - y; }, a);
}
template <class V, int n>
PND_INLINE auto operator&(const Pack<V, n> &a, Element<V> bits) {
  return per_vector([=](V x) { return x & bits; }, a);
}
template <class V, int n>
PND_INLINE auto operator<<(const Pack<V, n> &a, int bits) {
  return per_vector([=](V x) { return x << bits; }, a);
}
template <class V, int n>
PND_INLINE auto operator>>(const Pack<V, n> &a, int bits) {
  return per_vector([=](V x) { return x >> bits; }, a);
}

template <class V, int n>
PND_INLINE auto fma(const Pack<V, n> &a, const Pack<V, n> &b, const Pack<V, n> &c) {
  return per_vector([](V x, V y, V z) { return fma(x, y, z); }, a, b, c);
}
template <class V, int n>
PND_INLINE auto larger(const Pack<V, n> &a, const Pack<V, n> &b) {
  return per_vector([](V x, V y) { return larger(x, y); }, a, b);
}
template <class V, int n>
PND_INLINE auto smaller(const Pack<V, n> &a, const Pack<V, n> &b) {
  return per_vector([](V x, V y) { return smaller(x, y); }, a, b);
}
template <class Test, class V, int n>
PND_INLINE auto choose(const Pack<Test, n> &test, const Pack<V, n> &a, const Pack<V, n> &b) {
  return per_vector([](Test t, V x, V y) { return choose(t, x, y); }, test, a, b);
}
template <class V, int n>
PND_INLINE auto bits_of(const Pack<V, n> &a) {
  return per_vector([](V x) { return bits_of(x); }, a);
}
template <class V, int n>
PND_INLINE auto of_bits(const Pack<V, n> &a) {
  return per_vector([](V x) { return of_bits(x); }, a);
}

template <int n, class T>
PND_INLINE Pack<Vec<T>, n> load_pack(const T *p) {
  Pack<Vec<T>, n> result;
  PND_UNROLL
  for (int i = 0; i < n; ++i) result.v[i] = load(p + i * kWidth<T>);
  return result;
}
template <class T, class V, int n>
PND_INLINE void store_pack(T *p, const Pack<V, n> &x) {
  PND_UNROLL
  for (int i = 0; i < n; ++i) store(p + i * kWidth<T>, x.v[i]);
}
