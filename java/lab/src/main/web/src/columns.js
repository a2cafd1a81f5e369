// SPDX-License-Identifier: Apache-2.0
// Columns of tables: what is shown, what is sorted by, what is saved.

import { distinct, estimate, isEstimate, number } from './data.js';
import { h } from './dom.js';
import { NONE, compact, decimal, share, words } from './format.js';

/** Returns a column of words. */
export const text = (name, title, get) => ({
  name,
  title,
  numeric: false,
  text: (row) => String(get(row) ?? NONE),
  key: (row) => get(row) ?? null,
  cells: (row) => ({ [name]: get(row) ?? null }),
});

/** Returns a column of numbers, set by a function. */
export const numbers = (name, title, get, set = compact) => ({
  name,
  title,
  numeric: true,
  text: (row) => (number(get(row)) === null ? NONE : set(number(get(row)))),
  key: (row) => number(get(row)),
  cells: (row) => ({ [name]: number(get(row)) }),
});

/** Returns a column of estimates, each with its interval. */
export const estimates = (name, title, get, set = compact) => ({
  name,
  title,
  numeric: true,
  text: (row) => spreadNode(estimate(get(row)), set),
  key: (row) => estimate(get(row))?.value ?? null,
  cells: (row) => {
    const known = estimate(get(row));
    return {
      [name]: known?.value ?? null,
      [`${name}Low`]: known?.low ?? null,
      [`${name}High`]: known?.high ?? null,
    };
  },
});

function spreadNode(known, set) {
  if (known === null) {
    return NONE;
  }
  const { value, low, high } = known;
  const between = low < 0 ? ' to ' : '–';
  const interval =
    low === null || high === null
      ? null
      : h('span', { class: 'interval' }, ` ${set(low)}${between}${set(high)}`);
  return h('span', {}, set(value), interval);
}

const SHARES = new Set(
  (
    'legalSteps legal endpoint solved optimal exact firstMove stretch101 stretch105 stretch110 ' +
    'stretch150 predictedExact measuredExact worstSolved worstOptimal fraction contained ' +
    'containedReversed fixed cycling'
  ).split(' '),
);

const TITLES = {
  trainFlops: 'training FLOPs',
  trainMatrixFlops: 'of them in matrix products',
  validationFlops: 'validation FLOPs',
  scoreFlops: 'FLOPs for the learned score',
  spend: 'spent, ×',
  trainedRounds: 'rounds in training',
  rounds: 'rounds followed',
  fixed: 'states at a fixed point, %',
  cycling: 'states in a cycle, %',
  testFlops: 'test FLOPs per query',
  testFlopsPerQuery: 'test FLOPs per query',
  seconds: 'time, s',
  bestStep: 'step kept',
  validationNats: 'validation loss, nats per token',
  firstMoveNats: 'first move, nats',
  restNats: 'rest of the path, nats',
  predictedExact: 'exact samples predicted, %',
  measuredExact: 'exact samples measured, %',
  surprise: 'difference, standard deviations',
  legalSteps: 'legal steps, %',
  legal: 'legal, %',
  endpoint: 'at the target, %',
  solved: 'solved, %',
  optimal: 'optimal, %',
  exact: 'exact, %',
  firstMove: 'first move, %',
  stretch101: 'at most 1 % too long, %',
  stretch105: 'at most 5 %, %',
  stretch110: 'at most 10 %, %',
  stretch150: 'at most 50 %, %',
  worstSolved: 'solved, worst seed, %',
  fraction: 'training budget, %',
};

/** Returns how to set the numbers of a column: in full where all are whole and none is long. */
const setting = (values) =>
  values.every((x) => Number.isInteger(x) && Math.abs(x) < 1e7) ? (x) => decimal(x, 0) : compact;

/** Returns the columns of flat objects, from their fields. */
export function columnsOf(rows) {
  return distinct(rows.flatMap((row) => Object.keys(row))).map((name) => {
    const get = (row) => row[name];
    const values = rows.map(get).filter((value) => value !== null && value !== undefined);
    const set = SHARES.has(name) ? share : name === 'seed' ? String : setting(values);
    const title = TITLES[name] ?? (SHARES.has(name) ? `${words(name)}, %` : words(name));
    if (values.some(isEstimate)) {
      return estimates(name, title, get, set);
    }
    if (values.length && values.every((value) => typeof value === 'number')) {
      return numbers(name, title, get, set);
    }
    return text(name, title, (row) =>
      typeof row[name] === 'object' && row[name] !== null ? JSON.stringify(row[name]) : row[name],
    );
  });
}
