// SPDX-License-Identifier: Apache-2.0
// A table that sorts by any column, on a click or from the keyboard, and can be saved.

import { h } from './dom.js';
import { csv, save } from './download.js';
import { decimal } from './format.js';

const LONG = 20;
const order = new Intl.Collator('en', { numeric: true, sensitivity: 'base' });

/**
 * Returns a table.
 *
 * name: of the saved file; title: its caption; columns: { name, title, numeric, text, key, cells }
 * where text(row) is what is shown, key(row) what it is sorted by (null goes last) and cells(row)
 * what is saved, an object of field names and values; rows: anything
 */
export function table({ name, title, columns, rows }) {
  let sorted = { column: -1, sign: 1 };
  const body = h('tbody');
  const lines = rows.map((row) => ({
    row,
    element: h(
      'tr',
      {},
      columns.map((column, index) => cell(column, row, index)),
    ),
  }));

  const arrange = () => {
    const { column, sign } = sorted;
    const shown =
      column < 0
        ? lines
        : [...lines].sort((a, b) =>
            compare(columns[column].key(a.row), columns[column].key(b.row), sign),
          );
    body.replaceChildren(...shown.map((line) => line.element));
  };

  const heads = columns.map((column, index) => {
    const sort = () => {
      sorted = { column: index, sign: sorted.column === index ? -sorted.sign : 1 };
      heads.forEach((head, i) => {
        if (i === index) {
          head.setAttribute('aria-sort', sorted.sign > 0 ? 'ascending' : 'descending');
        } else {
          head.removeAttribute('aria-sort');
        }
      });
      arrange();
    };
    return h(
      'th',
      { scope: 'col', class: column.numeric ? 'number' : null },
      h(
        'button',
        { type: 'button', onclick: sort },
        column.title.replace(', %', ',\u00a0%'),
        h('span', { class: 'arrow' }),
      ),
    );
  });
  arrange();

  const saveRows = () => {
    const records = rows.map((row) => Object.assign({}, ...columns.map((c) => c.cells(row))));
    const names = [...new Set(records.flatMap((record) => Object.keys(record)))];
    const cells = records.map((record) => names.map((field) => record[field]));
    save(`${name}.csv`, 'text/csv', csv([names, ...cells]));
  };
  return h(
    'div',
    { class: 'sheet', id: name },
    h(
      'div',
      { class: 'head' },
      h('h3', { id: `table-${name}` }, title),
      h(
        'div',
        { class: 'tools' },
        lines.length > LONG ? filter(lines) : null,
        h(
          'button',
          { type: 'button', class: 'save', 'data-save': `${name}.csv`, onclick: saveRows },
          'Save CSV',
        ),
      ),
    ),
    h(
      'div',
      { class: 'scroll', tabindex: 0, role: 'region', 'aria-labelledby': `table-${name}` },
      h('table', { 'aria-labelledby': `table-${name}` }, h('thead', {}, h('tr', {}, heads)), body),
    ),
  );
}

function cell(column, row, index) {
  const shown = column.text(row);
  const isShort = !column.numeric && shown.length < 36;
  const attributes = { class: column.numeric ? 'number' : isShort ? 'word' : null };
  return index === 0 ? h('th', { scope: 'row', ...attributes }, shown) : h('td', attributes, shown);
}

function compare(a, b, sign) {
  if (a === null || b === null) {
    return a === b ? 0 : a === null ? 1 : -1;
  }
  return sign * (typeof a === 'number' && typeof b === 'number' ? a - b : order.compare(a, b));
}

/** Returns a field that hides the lines that lack one of its words. */
function filter(lines) {
  const count = h('output', { class: 'count' }, `${decimal(lines.length, 0)} rows`);
  const texts = lines.map((line) => line.element.textContent.toLowerCase());
  const look = (event) => {
    const parts = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
    let left = 0;
    lines.forEach((line, i) => {
      const isShown = parts.every((part) => texts[i].includes(part));
      line.element.hidden = !isShown;
      left += isShown;
    });
    count.textContent = `${decimal(left, 0)} of ${decimal(lines.length, 0)} rows`;
  };
  return h(
    'label',
    { class: 'filter' },
    'Filter ',
    h('input', { type: 'search', autocomplete: 'off', oninput: look }),
    ' ',
    count,
  );
}
