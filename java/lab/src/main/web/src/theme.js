// SPDX-License-Identifier: Apache-2.0
// Colours of the figures. Hues differ in lightness too, and no curve is told by its hue alone.

const LIGHT = {
  hues: ['#0b5fa5', '#c2410c', '#00795f', '#8e3a8a', '#6b5b00', '#475569'],
  ink: '#1b1d21',
  muted: '#565c66',
  grid: '#e3e5ea',
  paper: '#ffffff',
  land: '#f1f2ee',
  border: '#b9beb4',
  city: '#8d948a',
  truth: '#59616d',
  answer: '#0b5fa5',
  wrong: '#c2410c',
};

const DARK = {
  hues: ['#6fb3ef', '#f5955f', '#46c9a2', '#dd8fd6', '#d6bf4b', '#aab4c3'],
  ink: '#e9e9e6',
  muted: '#a7adb8',
  grid: '#2c313a',
  paper: '#14171c',
  land: '#1e232a',
  border: '#414a54',
  city: '#6c7681',
  truth: '#c3c9d2',
  answer: '#6fb3ef',
  wrong: '#f5955f',
};

const dark = matchMedia('(prefers-color-scheme: dark)');

/** Returns the colours that fit the reader's setting. */
export const theme = () => (dark.matches ? DARK : LIGHT);

/** The colours of what is saved: for paper. */
export const PRINT = LIGHT;

/** Calls back when the reader's setting changes. */
export const onTheme = (callback) => dark.addEventListener('change', callback);

/** Returns the colour of a number. */
export const hue = (colours, index) => colours.hues[index % colours.hues.length];

/** Line patterns, one for each training budget; in pixels. */
export const DASHES = [[], [9, 4], [6, 3, 1.5, 3], [1.5, 3]];

/** Returns the line pattern of a number. */
export const dash = (index) => DASHES[index % DASHES.length];

const polygon = (corners, turn, inner) => (r) => {
  const count = inner ? 2 * corners : corners;
  const points = Array.from({ length: count }, (_, i) => {
    const angle = turn + (2 * Math.PI * i) / count;
    const radius = inner && i % 2 ? r * inner : r;
    return `${(radius * Math.sin(angle)).toFixed(2)},${(-radius * Math.cos(angle)).toFixed(2)}`;
  });
  return `M${points.join('L')}Z`;
};

const plus = (turn) => (r) => {
  const [arm, half] = [1.35 * r, 0.42 * r];
  const corner = [
    [-half, -arm],
    [half, -arm],
    [half, -half],
  ];
  const points = [0, 1, 2, 3].flatMap((quarter) =>
    corner.map(([x, y]) => {
      const angle = turn + (quarter * Math.PI) / 2;
      const [sin, cos] = [Math.sin(angle), Math.cos(angle)];
      return `${(x * cos - y * sin).toFixed(2)},${(x * sin + y * cos).toFixed(2)}`;
    }),
  );
  return `M${points.join('L')}Z`;
};

/** Marks, one for each method: outlines around the origin as SVG paths, for a radius. */
const MARKS = [
  (r) => `M${-r},0A${r},${r} 0 1 1 ${r},0A${r},${r} 0 1 1 ${-r},0Z`,
  (r) => polygon(4, Math.PI / 4)(r * 1.2),
  (r) => polygon(3, 0)(r * 1.3),
  (r) => polygon(4, 0)(r * 1.3),
  (r) => polygon(3, Math.PI)(r * 1.3),
  (r) => polygon(5, 0, 0.45)(r * 1.5),
  (r) => polygon(4, 0, 0.35)(r * 1.6),
  plus(0),
  plus(Math.PI / 4),
  (r) => polygon(3, Math.PI / 2)(r * 1.3),
];

/** Returns the outline of a number's mark. */
export const mark = (index, radius) => MARKS[index % MARKS.length](radius);
