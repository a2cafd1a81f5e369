// SPDX-License-Identifier: Apache-2.0
// Choices: chips that are switched on and off, which are a plot's legend at the same time.

import { h, svg } from './dom.js';
import { onTheme, theme } from './theme.js';
import { sample } from './picture.js';

let groups = 0;

/**
 * Returns { element, chosen } of a group of chips; chosen() is the set of the values switched on.
 *
 * items: { value, label, sample, on }, sample as a curve or absent; many: several at a time
 */
export function chips(title, items, many, changed) {
  const name = `choice-${++groups}`;
  const inputs = items.map((item) => {
    const input = h('input', {
      type: many ? 'checkbox' : 'radio',
      name,
      checked: item.on,
      onchange: changed,
    });
    return { item, input };
  });
  const element = h(
    'fieldset',
    { class: 'chips' },
    h('legend', {}, title),
    inputs.map(({ item, input }) =>
      h('label', {}, input, h('span', { class: 'chip' }, icon(item.sample), item.label)),
    ),
  );
  const chosen = () =>
    new Set(inputs.filter(({ input }) => input.checked).map(({ item }) => item.value));
  return { element, chosen };
}

/** Returns the sample of a curve for a legend. */
export function icon(curve) {
  if (!curve) {
    return null;
  }
  const width = curve.dash === null ? 14 : 30;
  const draw = () => sample(curve, 1, 8, theme(), width - 2);
  const picture = svg('svg', { width, height: 16, 'aria-hidden': 'true' }, draw());
  onTheme(() => picture.replaceChildren(draw()));
  return picture;
}

/** Returns { element, value, show } of a labelled list to choose from. */
export function select(title, changed) {
  const list = h('select', { onchange: changed });
  const element = h('label', { class: 'select' }, h('span', {}, title), list);
  const value = () => (list.selectedIndex < 0 ? null : list.selectedIndex);
  const show = (labels, index) => {
    list.replaceChildren(...labels.map((label) => h('option', {}, label)));
    list.selectedIndex = index;
    list.disabled = labels.length < 2;
  };
  return { element, value, show };
}
