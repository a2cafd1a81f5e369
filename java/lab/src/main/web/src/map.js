// SPDX-License-Identifier: Apache-2.0
// One query on the map: the true path, and the predicted one as the compute spent on it grows.

import { chart, kilometres } from './chart.js';
import { select } from './choice.js';
import { distinct, list, number } from './data.js';
import { h, onWidth } from './dom.js';
import { figure, nothing, section } from './figure.js';
import { NONE, budget, compact, decimal, flops } from './format.js';
import { PRINT, onTheme, theme } from './theme.js';

const TITLE = 'One question on the map';

/** How an answer turned out: a sign for it and the word. */
function outcome(answer) {
  if (answer.optimal) {
    return { sign: '●', word: 'optimal' };
  }
  if (answer.solved) {
    return { sign: '◉', word: 'solved' };
  }
  return answer.legal ? { sign: '○', word: 'legal, not solved' } : { sign: '×', word: 'not legal' };
}

export function map(data) {
  const cities = list(data.map?.cities);
  const queries = list(data.map?.queries).filter((query) => list(query.answers).length);
  if (!cities.length || !queries.length) {
    return section('map', TITLE, nothing('No query was kept for the map.'));
  }

  const at = { query: 0, model: null, fraction: null, method: null, spend: null };
  const places = (path) =>
    list(path)
      .map((index) => cities[index])
      .filter(Boolean);
  const isEdge = edges(data.data);

  // Each list offers what the choices before it leave.
  const FIELDS = ['model', 'fraction', 'method'];
  const answers = (fields) =>
    list(queries[at.query].answers).filter((one) => fields.every((f) => one[f] === at[f]));
  const options = {};
  const lists = {
    query: select('Query', () => pick('query', lists.query.value())),
    model: select('Model', () => pick('model', options.model[lists.model.value()])),
    fraction: select('Training budget', () =>
      pick('fraction', options.fraction[lists.fraction.value()]),
    ),
    method: select('Way of answering', () => pick('method', options.method[lists.method.value()])),
  };
  const slider = h('input', {
    type: 'range',
    min: 0,
    step: 1,
    id: 'spend',
    oninput: () => {
      at.spend = spends()[Number(slider.value)].spend;
      show();
    },
  });
  const near = h('input', { type: 'checkbox', onchange: () => show() });
  const strip = h('ol', { class: 'strip', 'aria-hidden': 'true' });
  const said = h('output', { class: 'spent', for: 'spend' });
  const facts = h('div', { class: 'facts', 'aria-live': 'polite' });
  const both = h('div', { class: 'both' });
  const canvas = h('div', { class: 'chart' });
  let width = 0;

  const spends = () => answers(FIELDS).sort((a, b) => a.spend - b.spend);
  const current = () => {
    const offered = spends();
    return offered.find((one) => one.spend === at.spend) ?? offered.at(-1);
  };

  function pick(field, value) {
    at[field] = value;
    show();
  }

  /** Brings the choices in order: what is no longer offered falls back to the first. */
  function settle() {
    FIELDS.forEach((field, i) => {
      const offered = distinct(answers(FIELDS.slice(0, i)).map((one) => one[field]));
      options[field] = field === 'fraction' ? offered.sort((a, b) => b - a) : offered;
      if (!offered.includes(at[field])) {
        at[field] = field === 'method' ? longest(offered) : offered[0];
      }
    });
    const wanted = at.spend ?? spends()[0].spend;
    const offered = spends().map((one) => one.spend);
    at.spend = offered.reduce((a, b) => (Math.abs(b - wanted) < Math.abs(a - wanted) ? b : a));
  }

  const longest = (methods) => {
    const count = (method) =>
      answers(['model', 'fraction']).filter((one) => one.method === method).length;
    return methods.reduce((best, method) => (count(method) > count(best) ? method : best));
  };

  function show() {
    settle();
    const label = (query) => {
      const [from, to] = [cities[query.source], cities[query.target]];
      return `${nameOf(from)} → ${nameOf(to)}, ${length(query.kilometres)}`;
    };
    lists.query.show(queries.map(label), at.query);
    lists.model.show(options.model, options.model.indexOf(at.model));
    lists.fraction.show(options.fraction.map(budget), options.fraction.indexOf(at.fraction));
    lists.method.show(options.method, options.method.indexOf(at.method));

    const offered = spends();
    const answer = current();
    const index = offered.indexOf(answer);
    slider.max = offered.length - 1;
    slider.value = index;
    slider.disabled = offered.length < 2;
    const cost = `${answer.spend}×, ${flops(number(answer.testFlops))}`;
    slider.setAttribute('aria-valuetext', `${cost}: ${outcome(answer).word}`);
    said.textContent = cost;
    strip.style.setProperty('--count', offered.length);
    slider.style.setProperty('--count', offered.length);
    strip.replaceChildren(
      ...offered.map((one) =>
        h(
          'li',
          { class: one === answer ? 'now' : null, title: outcome(one).word },
          h('span', { class: `sign ${outcome(one).word.replace(/\W.*/, '')}` }, outcome(one).sign),
          h('span', {}, `${one.spend}×`),
        ),
      ),
    );
    facts.replaceChildren(...describe(answer));
    both.replaceChildren(...compare(queries[at.query], answer));
    draw();
  }

  function drawing(wide, colours) {
    const query = queries[at.query];
    const answer = current();
    const [truth, path] = [places(query.truth), places(answer.path)];
    const title =
      `${nameOf(cities[query.source])} to ${nameOf(cities[query.target])}: ` +
      `the true path and that of ${at.model}, ${at.method}, ${budget(at.fraction)} training ` +
      `budget, ${answer.spend}×: ${outcome(answer).word}`;
    return chart({
      cities,
      truth,
      answer: path,
      isEdge,
      near: near.checked,
      title,
      width: wide,
      colours,
    });
  }

  function draw() {
    if (width) {
      canvas.replaceChildren(drawing(width, theme()));
    }
  }

  function describe(answer) {
    const fact = (term, value) => h('div', {}, h('dt', {}, term), h('dd', {}, value));
    const stretch = number(answer.stretch);
    const yes = (value) => (value ? 'yes' : 'no');
    const { sign, word } = outcome(answer);
    return [
      h(
        'p',
        { class: 'outcome' },
        h('span', { class: `sign ${word.replace(/\W.*/, '')}`, 'aria-hidden': 'true' }, sign),
        ` ${word}`,
      ),
      h(
        'dl',
        {},
        fact('legal', yes(answer.legal)),
        fact('solved', yes(answer.solved)),
        fact('optimal', yes(answer.optimal)),
        fact('stretch', stretch === null ? NONE : decimal(stretch, 3)),
        fact('test FLOPs', compact(number(answer.testFlops))),
      ),
    ];
  }

  function compare(query, answer) {
    const [truth, path] = [places(query.truth), places(answer.path)];
    const stretch = number(answer.stretch);
    const long = stretch === null ? '' : `${length(stretch * query.kilometres)}, `;
    return [
      h(
        'div',
        {},
        h('h4', {}, `True path, ${length(query.kilometres)}, ${stepCount(truth)}`),
        h('p', { class: 'stations true-path' }, truth.map(nameOf).join(' → ')),
      ),
      h('div', {}, h('h4', {}, `Predicted path, ${long}${stepCount(path)}`), stations(path, truth)),
    ];
  }

  /** The predicted stops; those that are not on the true path stand out, as do wrong steps. */
  function stations(path, truth) {
    const parts = path.flatMap((city, i) => {
      const step =
        i === 0
          ? []
          : isEdge(path[i - 1], city)
            ? [' → ']
            : [h('span', { class: 'jump', title: 'no edge' }, ' ⇢ ')];
      return [...step, truth.includes(city) ? nameOf(city) : h('b', {}, nameOf(city))];
    });
    return h('p', { class: 'stations predicted-path' }, parts.length ? parts : 'No city at all.');
  }

  onWidth(canvas, (now) => {
    width = now;
    draw();
  });
  onTheme(draw);
  show();

  const line = (name) => h('span', { class: `key ${name}`, 'aria-hidden': 'true' });
  return section(
    'map',
    TITLE,
    figure({
      name: 'path-map',
      title: 'The true and the predicted path',
      body: [
        h(
          'div',
          { class: 'choices lists' },
          Object.values(lists).map((one) => one.element),
        ),
        h(
          'div',
          { class: 'slider' },
          h('label', { for: 'spend' }, 'Test-time compute '),
          said,
          h('div', { class: 'track' }, slider, strip),
        ),
        h(
          'div',
          { class: 'mapping' },
          h(
            'div',
            { class: 'field' },
            canvas,
            h(
              'div',
              { class: 'legend' },
              h('span', {}, line('truth'), 'true path'),
              h('span', {}, line('edge'), 'predicted path'),
              h('span', {}, line('jump'), 'predicted step that is no edge'),
              h('label', { class: 'near' }, near, 'close up'),
            ),
          ),
          facts,
          both,
        ),
      ],
      caption:
        '● optimal, ◉ solved (at most 10\u00a0% too long), ○ legal but not solved, × not legal. ' +
        'Names in bold are not on the true path. State borders: US Census Bureau, by us-atlas.',
      picture: () => drawing(975, PRINT),
      rows: () => rows(queries[at.query], current()),
    }),
  );

  function rows(query, answer) {
    const header = [
      'path',
      'step',
      'city',
      'name',
      'state',
      'latitude',
      'longitude',
      'model',
      'fraction',
      'method',
      'spend',
      'testFlops',
      'legal',
      'solved',
      'optimal',
      'stretch',
    ];
    const { model, fraction, method, spend, testFlops, legal, solved, optimal, stretch } = answer;
    const about = [model, fraction, method, spend, testFlops, legal, solved, optimal, stretch];
    const row = (which, rest) => (index, step) => {
      const city = cities[index] ?? {};
      const { name, state, latitude, longitude } = city;
      return [which, step, index, name, state, latitude, longitude, ...rest];
    };
    return [
      header,
      ...list(query.truth).map(
        row(
          'true',
          about.map(() => null),
        ),
      ),
      ...list(answer.path).map(row('predicted', about)),
    ];
  }
}

const nameOf = (city) => (city ? `${city.name}, ${city.state}` : 'unknown place');
const length = (km) => (number(km) === null ? NONE : `${decimal(km, 0)}\u202fkm`);
const stepCount = (path) => {
  const count = Math.max(0, path.length - 1);
  return `${count} ${count === 1 ? 'step' : 'steps'}`;
};

/** Returns whether a step is an edge of the graph that the data describe. */
function edges(about) {
  const radius = number(about?.radiusKilometres) ?? Infinity;
  const oneWay = about?.orientation === 'west-to-east';
  return (a, b) => {
    const isEast =
      b.longitude > a.longitude || (b.longitude === a.longitude && b.latitude > a.latitude);
    return a !== b && kilometres(a, b) <= radius * (1 + 1e-9) && (!oneWay || isEast);
  };
}
