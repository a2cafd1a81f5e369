// SPDX-License-Identifier: Apache-2.0
// Axes: ranges that fit the data and ticks at round numbers, the same on screen and in a file.

import { compact, power } from './format.js';

const EDGE = 0.015;

/** Returns the ticks of a logarithmic axis: powers of ten, or also 2 and 5 where it is short. */
export function logTicks(low, high, atMost = 8) {
  const first = Math.floor(Math.log10(low));
  const last = Math.ceil(Math.log10(high));
  const decades = Math.log10(high / low);
  const steps = decades < 1.2 ? [1, 2, 3, 5, 7] : decades < 2.5 ? [1, 2, 5] : [1];
  const every = Math.max(1, Math.ceil(decades / atMost));
  const ticks = [];
  for (let exponent = first; exponent <= last; exponent++) {
    if ((exponent - first) % every === 0) {
      ticks.push(...steps.map((step) => step * 10 ** exponent));
    }
  }
  const edge = 1 + 1e-9;
  return ticks.filter((tick) => tick * edge >= low && tick <= high * edge);
}

/** Returns the ticks of a linear axis: multiples of 1, 2 or 5 times a power of ten. */
export function linearTicks(low, high, about = 6) {
  const rough = (high - low) / about;
  const base = 10 ** Math.floor(Math.log10(rough));
  const step = base * ([1, 2, 5].find((multiple) => multiple * base >= rough) ?? 10);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) {
    ticks.push(Number((i * step).toPrecision(12)));
  }
  return ticks;
}

/** Returns the text of a tick on a logarithmic axis. */
export function logLabel(tick) {
  const exponent = Math.round(Math.log10(tick));
  const isPower = Math.abs(tick / 10 ** exponent - 1) < 1e-9;
  return isPower && (tick >= 1e4 || tick < 1e-2) ? power(exponent) : compact(tick, 1);
}

/** Returns the range of an axis for some values: a margin on both sides. */
export function range(values, log, margin = 0.06) {
  const known = values.filter((value) => value !== null && (!log || value > 0));
  if (!known.length) {
    return log ? [1, 10] : [0, 1];
  }
  const low = known.reduce((a, b) => Math.min(a, b));
  const high = known.reduce((a, b) => Math.max(a, b));
  if (log) {
    const room = Math.max((high / low) ** margin, 1.25);
    return [low / room, high * room];
  }
  const room = (high - low || Math.abs(high) || 1) * margin;
  return [low - room, high + room];
}

/** Returns the range of an axis of shares: to 100 %, from a tenth below the least; marks fit in. */
export function shareRange(values) {
  const known = values.filter((value) => value !== null);
  const least = known.length ? Math.min(...known) : 0;
  return [Math.max(0, Math.min(0.9, Math.floor(least * 10 - 0.05) / 10)) - EDGE, 1 + EDGE];
}
