// SPDX-License-Identifier: Apache-2.0
// The top of the page: what was asked, of what, and what came out, in words.

import { estimate, list, number } from './data.js';
import { h } from './dom.js';
import { nothing, section } from './figure.js';
import { decimal, percentSpread } from './format.js';

const WORDS = { true: 'held', false: 'missed', null: 'undecided' };
const SIGNS = { held: '✓', missed: '✗', undecided: '?' };

export function header(data) {
  const cities = number(data.data?.cities);
  const seeds = list(data.seeds);
  const facts = [
    data.split ? `${data.split} split` : null,
    cities === null ? null : `${decimal(cities, 0)} cities`,
    seeds.length ? `${seeds.length} ${seeds.length === 1 ? 'seed' : 'seeds'}` : null,
    data.version ? `Ponder ${data.version}` : null,
  ].filter(Boolean);
  return h(
    'header',
    {},
    h('p', { class: 'kicker' }, 'Ponder · what a model gains by thinking longer'),
    h('h1', {}, data.title ?? 'Report'),
    h('p', { class: 'facts-line' }, facts.join(' · ')),
    h(
      'p',
      { class: 'lead' },
      'An answer is ',
      h('em', {}, 'legal'),
      ' if every step is an edge of the graph, ',
      h('em', {}, 'solved'),
      ' if it also ends at the target and is at most 10\u00a0% longer than the shortest path, and ',
      h('em', {}, 'optimal'),
      ' if no path is shorter. Compute is counted, ' +
        'not estimated: a query pays for every sample, rejected or not, every iteration and every ' +
        'check. Intervals are 95\u00a0%.',
    ),
  );
}

export function findings(data) {
  const verdicts = list(data.verdicts);
  const catchUp = data.catchUp ?? null;
  if (!verdicts.length && !catchUp) {
    return section('findings', 'Findings', nothing('No claim was put to the test.'));
  }
  return section(
    'findings',
    'Findings',
    h(
      'ol',
      { class: 'verdicts' },
      verdicts.map((one) => verdict(one.claim, one.held, one.text, list(one.details))),
      catchUp && !verdicts.some((one) => tells(one, catchUp)) ? caught(catchUp) : null,
    ),
  );
}

function verdict(claim, held, text, details = []) {
  const word = WORDS[held] ?? 'undecided';
  return h(
    'li',
    { class: word },
    h('span', { class: 'badge' }, h('span', { 'aria-hidden': 'true' }, SIGNS[word]), ` ${word}`),
    h(
      'div',
      {},
      h('p', { class: 'claim' }, joined(claim)),
      text && h('p', {}, sentence(joined(text))),
      details.length
        ? h(
            'details',
            {},
            h('summary', {}, 'in detail'),
            h(
              'ul',
              {},
              details.map((line) => h('li', {}, joined(line))),
            ),
          )
        : null,
    ),
  );
}

/** Whether a verdict says already what the catch-up test found. */
const tells = (one, catchUp) =>
  Boolean(catchUp.text) &&
  [one.text, ...list(one.details)].some((line) => line?.includes(catchUp.text));

/** An interval that holds zero decides nothing, whatever its middle. */
function caught({ small, large, difference, caughtUp, text }) {
  const known = estimate(difference);
  const claim = `With more test-time compute ${small} catches up with ${large}`;
  const isOpen = known === null || (known.low <= 0 && known.high >= 0);
  const by = known === null || /point/.test(text) ? '' : ` Difference: ${points(known)}.`;
  return verdict(claim, isOpen ? null : caughtUp, `${text ?? ''}${by}`);
}

/** A number stays with its percent sign. */
const joined = (text) => String(text).replace(/(\d) %/g, '$1\u00a0%');

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

const points = (known) => percentSpread(known).replace(/%$/, 'points');
