// SPDX-License-Identifier: Apache-2.0
// The frame of a figure or a table: number, title, what is in it, and how to save it.

import { h } from './dom.js';
import { csv, save, svgText } from './download.js';

let figures = 0;

/**
 * Returns a figure.
 *
 * name: of the saved files; title: in words; body: elements; caption: below, may be null;
 * picture: returns the SVG to save; rows: returns the rows to save, the header first
 */
export function figure({ name, title, body, caption, picture, rows }) {
  figures++;
  const heading = h('h3', { id: `figure-${name}` }, h('b', {}, `Figure ${figures}.`), ' ', title);
  const saveAs = (label, text) =>
    h(
      'button',
      { type: 'button', class: 'save', 'data-save': `${name}.${label}`, onclick: text },
      `Save ${label.toUpperCase()}`,
    );
  const tools = h(
    'div',
    { class: 'tools' },
    saveAs('svg', () => save(`${name}.svg`, 'image/svg+xml', svgText(picture()))),
    saveAs('csv', () => save(`${name}.csv`, 'text/csv', csv(rows()))),
  );
  return h(
    'figure',
    { id: name, 'aria-labelledby': `figure-${name}` },
    h('div', { class: 'head' }, heading, tools),
    ...body,
    caption && h('figcaption', {}, caption),
  );
}

/** Returns a section of the page. */
export const section = (id, title, ...children) =>
  h(
    'section',
    { id, 'aria-labelledby': `${id}-title` },
    h('h2', { id: `${id}-title` }, title),
    ...children,
  );

/** Returns the line that stands where nothing was measured. */
export const nothing = (what) => h('p', { class: 'nothing' }, what);
