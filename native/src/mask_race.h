// SPDX-License-Identifier: Apache-2.0
// mask_race.h: the exponential race of a row: Gumbel top-k by its times.
#pragma once

#include "mask.h"
#include "select.h"

// The chosen positions in the order of their times, of which the last is given: order [c]; `room`
// has space for c + 1. They are dealt to buckets by their share of the last time, after which few
// stand in the wrong order, unless the times span many magnitudes.
template <class T>
void in_order(const T *times, const int32_t *chosen, int64_t padded, T last, int32_t *order,
              uint32_t *room) {
  constexpr int kBuckets = 256;
  constexpr int32_t kCrowd = 16;
  int32_t start[kBuckets + 1] = {};
  const T scale = kBuckets / last;
  const auto bucket_of = [=](int64_t i) {
    const T at = times[i] * scale;  // rises with the time
    return at < kBuckets ? static_cast<int>(at) : kBuckets - 1;
  };
  const auto before = [times](int32_t i, int32_t k) {
    return times[i] < times[k] || (times[i] == times[k] && i < k);
  };
  int64_t c = 0;
  for (int64_t i = 0; i < padded; ++i) {
    room[c] = static_cast<uint32_t>(i);
    c += chosen[i];
  }
  for (int64_t j = 0; j < c; ++j) ++start[bucket_of(room[j]) + 1];
  int32_t most = 0;
  for (int b = 0; b < kBuckets; ++b) {
    most = std::max(most, start[b + 1]);
    start[b + 1] += start[b];
  }
  for (int64_t j = 0; j < c; ++j)
    order[start[bucket_of(room[j])]++] = static_cast<int32_t>(room[j]);
  if (most > kCrowd) {
    std::sort(order, order + c, before);
    return;
  }
  for (int64_t j = 1; j < c; ++j) {
    const int32_t one = order[j];
    int64_t to = j;
    for (; to > 0 && before(one, order[to - 1]); --to) order[to] = order[to - 1];
    order[to] = one;
  }
}

// Time c and time c + 1.
template <class T>
struct Times {
  T last, next;
};

// room.other = the times, chosen = where the c smallest of them are. 0 < c < n.
template <class T>
Times<T> race(const Mask<T> &mask, int64_t row, Room<T> &room, int64_t c) {
  const int64_t padded = mask.padded();
  philox_words(room.words, 0, mask.stream(row), 0, padded);
  for (int64_t i = 0; i < padded; i += kWidth<T>) {
    Vec<T> count, rest;
    counts_of<T>(room.words + i, count, rest);
    store(room.other + i, exponential_of(count, rest) / load(room.weight + i));
  }
  const T next = smallest_of(room.other, padded, c, room.select);
  T last = 0;
  int32_t before = 0;
  for (int64_t i = 0; i < padded; ++i) {
    const int32_t is = room.other[i] < next;
    room.row.chosen[i] = is;
    before += is;
  }
  const Vec<T> end = splat(next);
  Lanes<T> most;
  for (int64_t i = 0; i < padded; i += kLanes) {
    PND_UNROLL
    for (int j = 0; j < Lanes<T>::kVectors; ++j) {
      const Vec<T> time = load(room.other + i + j * kWidth<T>);
      most.v[j] = larger(choose(time < end, time, Vec<T>{}), most.v[j]);
    }
  }
  PND_UNROLL
  for (const Vec<T> &lane : most.v) last = std::max(last, largest_of<T>(lane));
  if (before < c) last = next;
  for (int64_t i = 0; before < c; ++i) {
    if (room.other[i] != next) continue;
    room.row.chosen[i] = 1;
    ++before;
  }
  return {last, next};
}

// left[j] = the weight of what is left when place j of the order is chosen.
template <class T>
void remaining(const Room<T> &room, int64_t padded, const int32_t *order, int64_t c, T *left) {
  const T *w = room.weight;
  for (int64_t i = 0; i < padded; ++i) left[i] = room.row.chosen[i] ? 0 : w[i];
  T sum = sum_in<T>(padded, [&](int64_t i) { return load(left + i); });
  for (int64_t j = c - 1; j >= 0; --j) left[j] = sum += w[order[j]];
}
