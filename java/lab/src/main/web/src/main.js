// SPDX-License-Identifier: Apache-2.0
// Puts the page together from the data in it.

import { unpack } from './data.js';
import { h } from './dom.js';
import { exchange } from './exchange.js';
import { findings, header } from './findings.js';
import { frontier } from './frontier.js';
import { keysOf } from './keys.js';
import { map } from './map.js';
import { origin } from './origin.js';
import { results } from './results.js';

const data = unpack(JSON.parse(document.getElementById('data').textContent)) ?? {};
const keys = keysOf(data);
document.title = `${data.title ?? 'Report'} – Ponder`;

const sections = [
  findings(data),
  frontier(data, keys),
  exchange(data, keys),
  map(data),
  results(data),
  origin(data),
];
const contents = sections.map((one) =>
  h('li', {}, h('a', { href: `#${one.id}` }, one.querySelector('h2').textContent)),
);
document.querySelector('main').replaceChildren(header(data), ...sections);
document.querySelector('nav').append(h('ol', {}, contents));
