// SPDX-License-Identifier: Apache-2.0
// Everything that was measured, as tables.

import { columnsOf, estimates, numbers, text } from './columns.js';
import { isEstimate, list, number } from './data.js';
import { h } from './dom.js';
import { nothing, section } from './figure.js';
import { compact, decimal, percent, share } from './format.js';
import { table } from './table.js';

export function results(data) {
  const points = list(data.curves).flatMap((curve) =>
    list(curve.points).map((point) => ({ ...curve, ...point })),
  );
  return section(
    'results',
    'All measurements',
    about(data.data),
    split(data.split, list(data.splits)),
    sheet('points', 'Every point of the frontier', points, pointColumns()),
    sheet('baselines', 'Methods that learn nothing', list(data.baselines), [
      text('method', 'method', (row) => row.method),
      numbers('testFlops', 'test FLOPs per query', (row) => row.testFlops),
      estimates('solved', 'solved, %', (row) => row.solved, share),
      estimates('optimal', 'optimal, %', (row) => row.optimal, share),
    ]),
    sheet('training', 'Training', flat(list(data.training))),
    sheet('rows', 'Each model, seed and way of answering', flat(list(data.rows))),
  );
}

/** Returns rows with the fields of their parts beside their own; lists are left to the figures. */
function flat(rows) {
  const isPart = (value) => value !== null && typeof value === 'object' && !isEstimate(value);
  const parts = new Set(
    rows.flatMap((row) => Object.keys(row).filter((name) => isPart(row[name]))),
  );
  const fields = ([name, value]) => {
    if (!parts.has(name)) {
      return [[name, value]];
    }
    return Object.entries(value ?? {}).filter(([, part]) => !Array.isArray(part));
  };
  return rows.map((row) => Object.fromEntries(Object.entries(row).flatMap(fields)));
}

const sheet = (name, title, rows, columns = columnsOf(rows)) =>
  rows.length ? table({ name, title, columns, rows }) : nothing(`${title}: nothing was measured.`);

const pointColumns = () => [
  text('model', 'model', (row) => row.model),
  numbers(
    'parameters',
    'parameters',
    (row) => row.parameters,
    (x) => decimal(x, 0),
  ),
  text('method', 'way of answering', (row) => row.method),
  numbers('fraction', 'training budget, %', (row) => row.fraction, share),
  numbers('trainFlops', 'training FLOPs', (row) => row.trainFlops),
  numbers('seeds', 'seeds', (row) => row.seeds),
  numbers('spend', 'spent, ×', (row) => row.spend),
  numbers('testFlops', 'test FLOPs per query', (row) => row.testFlops),
  estimates('solved', 'solved, %', (row) => row.solved, share),
  estimates('optimal', 'optimal, %', (row) => row.optimal, share),
  numbers('worstSolved', 'solved, worst seed, %', (row) => row.worstSolved, share),
];

/** What the paths are made of. */
function about(data) {
  if (!data) {
    return null;
  }
  const fact = (term, value, unit = '') =>
    value === null || value === undefined
      ? null
      : h('div', {}, h('dt', {}, term), h('dd', {}, `${value}${unit}`));
  const count = (value) => (number(value) === null ? null : decimal(value, 0));
  const part = (value) => (number(value) === null ? null : percent(value));
  const radius = number(data.radiusKilometres);
  return h(
    'dl',
    { class: 'about' },
    fact('cities', count(data.cities)),
    fact('edges', count(data.edges)),
    fact('joined up to', radius === null ? null : compact(radius), '\u202fkm'),
    fact('graph', data.orientation),
    fact('largest component', count(data.largestComponent), ' cities'),
    fact('pairs with a path', count(data.pairs)),
    fact('of them with ties', count(data.tiedPairs)),
    fact('longest path', count(data.longestSteps), ' steps'),
    fact('split', data.split),
    fact('test paths', count(data.testPaths)),
    fact('a piece of a training path', part(data.contained)),
    fact('of one read backwards', part(data.containedReversed)),
  );
}

/** What the run's split holds out, and what others would. */
function split(name, all) {
  const own = all.find((one) => one.name === name);
  if (!own) {
    return null;
  }
  return h(
    'div',
    { class: 'split' },
    h('p', {}, h('b', {}, `The ${own.name} split. `), own.text),
    h(
      'details',
      {},
      h('summary', {}, 'the other splits'),
      h(
        'dl',
        { class: 'about wide' },
        all
          .filter((one) => one !== own)
          .map((one) => h('div', {}, h('dt', {}, one.name), h('dd', {}, one.text))),
      ),
    ),
  );
}
