// SPDX-License-Identifier: Apache-2.0
// A table that sorts by any column, on a click or from the keyboard, and can be saved.

import { h } from './dom.js';
import { csv, save } from './download.js';
import { decimal } from './format.js';

const LONG = 20;
const CHUNK = 300;
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
  let wanted = [];
  const lines = rows.map((row) => ({ row, made: null }));
  let shown = lines;
  const body = h('tbody');

  const element = (line) =>
    (line.made ??= h(
      'tr',
      {},
      columns.map((column, index) => cell(column, line.row, index)),
    ));

  /** Long tables are made as they are scrolled. */
  const more = (count) => {
    const from = body.childElementCount;
    body.append(...shown.slice(from, from + count).map(element));
  };

  const arrange = () => {
    const { column, sign } = sorted;
    const fits = (line) => wanted.every((part) => words(element(line)).includes(part));
    shown = wanted.length ? lines.filter(fits) : [...lines];
    if (column >= 0) {
      const key = new Map(shown.map((line) => [line, columns[column].key(line.row)]));
      shown.sort((a, b) => compare(key.get(a), key.get(b), sign));
    }
    body.replaceChildren();
    more(CHUNK);
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

  const look = (parts) => {
    wanted = parts;
    arrange();
    return shown.length;
  };
  const scrolled = (event) => {
    const { scrollTop, clientHeight, scrollHeight } = event.target;
    if (scrollTop + 2 * clientHeight > scrollHeight) {
      more(CHUNK);
    }
  };
  addEventListener('beforeprint', () => more(Infinity));

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
        lines.length > LONG ? filter(lines.length, look) : null,
        h(
          'button',
          { type: 'button', class: 'save', 'data-save': `${name}.csv`, onclick: saveRows },
          'Save CSV',
        ),
      ),
    ),
    h(
      'div',
      {
        class: 'scroll',
        tabindex: 0,
        role: 'region',
        'aria-labelledby': `table-${name}`,
        onscroll: scrolled,
      },
      h(
        'table',
        { 'aria-labelledby': `table-${name}`, 'aria-rowcount': lines.length + 1 },
        h('thead', {}, h('tr', {}, heads)),
        body,
      ),
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

const words = (element) => element.textContent.toLowerCase();

/** Returns a field for words that a line must have; look(words) returns how many have them. */
function filter(length, look) {
  const all = `${decimal(length, 0)} rows`;
  const count = h('output', { class: 'count' }, all);
  const changed = (event) => {
    const parts = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
    const left = look(parts);
    count.textContent = parts.length ? `${decimal(left, 0)} of ${all}` : all;
  };
  return h(
    'label',
    { class: 'filter' },
    'Filter ',
    h('input', { type: 'search', autocomplete: 'off', oninput: changed }),
    ' ',
    count,
  );
}
