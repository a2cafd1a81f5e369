// SPDX-License-Identifier: Apache-2.0
// mask_race.h: the exponential race of a row: Gumbel top-k by its times.
#pragma once

#include "mask.h"
#include "select.h"

// The chosen positions in the order of their times, of which the last is given: order [c]. They are
// dealt to buckets by their share of the last time, and sorted there: few share a bucket, unless
// the times span many magnitudes.
template <class T>
void in_order(const T *times, const int32_t *chosen, int64_t padded, T last, int32_t *order) {
  constexpr int kBuckets = 256;
  int32_t start[kBuckets + 1] = {};
  const T scale = kBuckets / last;
  const auto bucket_of = [=](int64_t i) {
    const T at = times[i] * scale;  // rises with the time
    return at < kBuckets ? static_cast<int>(at) : kBuckets - 1;
  };
  for (int64_t i = 0; i < padded; ++i) {
    if (chosen[i]) ++start[bucket_of(i) + 1];
  }
  for (int b = 0; b < kBuckets; ++b) start[b + 1] += start[b];
  int32_t next[kBuckets];
  std::copy_n(start, kBuckets, next);
  for (int64_t i = 0; i < padded; ++i) {
    if (chosen[i]) order[next[bucket_of(i)]++] = static_cast<int32_t>(i);
  }
  for (int b = 0; b < kBuckets; ++b) {
    if (start[b + 1] - start[b] < 2) continue;
    std::sort(order + start[b], order + start[b + 1], [times](int32_t i, int32_t k) {
      return times[i] < times[k] || (times[i] == times[k] && i < k);
    });
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
