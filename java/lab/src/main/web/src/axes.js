// SPDX-License-Identifier: Apache-2.0
// What a plot shows, for the screen and for a file alike.
//
// A plot is { x, y, curves }. An axis is { label, log, share }: log for a logarithmic one, share
// for shares in percent. A curve is { label, hue, dash, mark, hollow, points }, a point
// { x, y, low, high, text, quiet }: low and high null where there is no interval, quiet for a point of
// the line without a mark.

import { compact, share } from './format.js';
import { linearTicks, logLabel, logTicks, range, shareRange } from './ticks.js';

/** Returns { low, high, ticks, text } of an axis; ticks no closer than fit into its length. */
function axis(which, values, length, room) {
  const [low, high] = which.share ? shareRange(values) : range(values, which.log);
  const ticks = which.log
    ? logTicks(low, high, Math.max(2, Math.floor(length / room)))
    : linearTicks(low, high, Math.max(2, Math.floor(length / room)));
  const text = which.share ? share0 : which.log ? logLabel : (tick) => compact(tick);
  return { low, high, ticks, text, log: which.log };
}

const share0 = (tick) => share(tick).replace(/\.0$/, '');

/** Returns both axes of a plot of a width and a height. */
export function axes(plot, width, height) {
  const points = plot.curves.flatMap((curve) => curve.points);
  const limits = (point) => [point.y, point.low, point.high];
  const positive = (value) => value !== null && (!plot.y.log || value > 0);
  const ys = points.flatMap(limits).filter(positive);
  return {
    x: axis(
      plot.x,
      points.map((point) => point.x),
      width,
      70,
    ),
    y: axis(plot.y, ys, height, 46),
  };
}

/** Returns where a value stands on an axis, from 0 to 1. */
export function place(value, { low, high, log }) {
  return log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
}
