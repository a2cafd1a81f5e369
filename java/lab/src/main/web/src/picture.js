// SPDX-License-Identifier: Apache-2.0
// The same plot as a picture of its own, for a paper: SVG with no outside part.

import { axes, place } from './axes.js';
import { svg } from './dom.js';
import { PRINT, dash, hue, mark } from './theme.js';

const WIDTH = 760;
const PLOT = { left: 64, top: 46, right: WIDTH - 20, bottom: 420 };
const ROW = 20;

/** Returns a picture of a plot under a title, with a legend below. */
export function picture(title, plot) {
  const { left, top, right, bottom } = PLOT;
  const { x, y } = axes(plot, right - left, bottom - top);
  const across = (value) => round(left + place(value, x) * (right - left));
  const down = (value) => round(bottom - place(value, y) * (bottom - top));
  const height = bottom + 62 + ROW * plot.curves.length;
  const parts = [
    svg('title', {}, title),
    svg('rect', { width: WIDTH, height, fill: PRINT.paper }),
    svg('text', { x: left, y: 24, 'font-size': 15, 'font-weight': 600 }, title),
  ];

  for (const tick of x.ticks) {
    parts.push(svg('path', { d: `M${across(tick)},${top}V${bottom}`, stroke: PRINT.grid }));
    parts.push(label(x.text(tick), across(tick), bottom + 18, 'middle'));
  }
  for (const tick of y.ticks) {
    parts.push(svg('path', { d: `M${left},${down(tick)}H${right}`, stroke: PRINT.grid }));
    parts.push(label(y.text(tick), left - 8, down(tick) + 4, 'end'));
  }
  parts.push(label(plot.x.label, (left + right) / 2, bottom + 40, 'middle'));
  const middle = (top + bottom) / 2;
  const upright = label(plot.y.label, 18, middle, 'middle');
  upright.setAttribute('transform', `rotate(-90 18 ${middle})`);
  parts.push(upright);

  plot.curves.forEach((curve, index) => {
    parts.push(drawCurve(curve, across, down));
    const row = bottom + 66 + ROW * index;
    parts.push(sample(curve, left, row), label(curve.label, left + 44, row + 4, 'start'));
  });

  return svg(
    'svg',
    {
      xmlns: 'http://www.w3.org/2000/svg',
      width: WIDTH,
      height,
      viewBox: `0 0 ${WIDTH} ${height}`,
      'font-family': 'Helvetica, Arial, sans-serif',
      'font-size': 12,
      fill: PRINT.ink,
    },
    ...parts,
  );
}

/** Returns the sample of a curve that a legend shows: its line and its mark. */
export function sample(curve, left, top, colours = PRINT, width = 36) {
  const colour = hue(colours, curve.hue);
  return svg(
    'g',
    { transform: `translate(${left},${top})` },
    curve.dash === null
      ? null
      : svg('path', {
          d: `M0,0H${width}`,
          stroke: colour,
          'stroke-width': 1.75,
          'stroke-dasharray': dash(curve.dash).join(' ') || null,
        }),
    curve.mark === null ? null : dot(curve, width / 2, 0, colour, colours),
  );
}

function drawCurve(curve, across, down) {
  const colour = hue(PRINT, curve.hue);
  const points = curve.points.filter((point) => point.x !== null && point.y !== null);
  const group = svg('g', {}, svg('title', {}, curve.label));
  const line = points.map((point) => `${across(point.x)},${down(point.y)}`).join('L');
  if (points.length > 1) {
    group.append(
      svg('path', {
        d: `M${line}`,
        fill: 'none',
        stroke: colour,
        'stroke-width': 1.75,
        'stroke-dasharray': dash(curve.dash).join(' ') || null,
      }),
    );
  }
  for (const point of points.filter((one) => !one.quiet)) {
    const left = across(point.x);
    if (point.low !== null && point.high !== null) {
      const [low, high] = [down(point.low), down(point.high)];
      const caps = `M${left - 2.5},${low}h5M${left - 2.5},${high}h5`;
      group.append(
        svg('path', {
          d: `M${left},${low}V${high}${caps}`,
          stroke: colour,
          'stroke-opacity': 0.55,
          'stroke-width': 1.25,
        }),
      );
    }
    const spot = dot(curve, left, down(point.y), colour, PRINT);
    spot.append(svg('title', {}, `${curve.label} ${point.text}`));
    group.append(spot);
  }
  return group;
}

const dot = (curve, left, top, colour, colours) =>
  svg('path', {
    d: mark(curve.mark, 4),
    transform: `translate(${left},${top})`,
    fill: curve.hollow ? colours.paper : colour,
    stroke: curve.hollow ? colour : colours.paper,
    'stroke-width': curve.hollow ? 1.75 : 1,
  });

const label = (text, x, y, anchor) => svg('text', { x, y, 'text-anchor': anchor }, text);

const round = (value) => Math.round(value * 100) / 100;
