// SPDX-License-Identifier: Apache-2.0
// The exchange of training for thinking: equal accuracy from more of one and less of the other.

import { chips, icon as chipIcon } from './choice.js';
import { estimates, numbers, text } from './columns.js';
import { distinct, estimate, list, number } from './data.js';
import { h } from './dom.js';
import { figure, nothing, section } from './figure.js';
import { compact, decimal, flops, share, spread } from './format.js';
import { picture } from './picture.js';
import { Plot } from './plot.js';
import { table } from './table.js';

export function exchange(data, keys) {
  return section(
    'exchange',
    'Training against thinking',
    contours(list(data.contours), keys),
    kappa(list(data.kappa)),
    throughput(list(data.throughput)),
    breakEven(list(data.breakEven)),
    equalTotals(list(data.equalTotals)),
  );
}

const level = (value) => `${share(value).replace(/\.0$/, '')}\u202f%`;

function contours(all, keys) {
  const reached = (contour) =>
    list(contour.points).filter((point) => estimate(point.testFlops) !== null).length;
  const known = all.filter((contour) => reached(contour) > 0);
  if (!known.length) {
    return nothing('No accuracy was reached after more than one training budget: no contours.');
  }
  const levels = distinct(known.map((contour) => contour.level)).sort((a, b) => a - b);
  const count = (value) =>
    known.filter((c) => c.level === value).reduce((sum, c) => sum + reached(c), 0);
  const first = levels.reduce((best, value) => (count(value) >= count(best) ? value : best));
  const plot = new Plot('Training FLOPs against test FLOPs at equal accuracy');
  const draw = () => plot.show(choose());
  const chosen = chips(
    'Solved',
    levels.map((value) => ({ value, label: level(value), on: value === first })),
    false,
    draw,
  );

  const choose = () => ({
    x: { label: 'training FLOPs', log: true },
    y: { label: 'test FLOPs per query', log: true },
    curves: known
      .filter((contour) => chosen.chosen().has(contour.level))
      .map((contour) => ({
        label: `${contour.model}, ${contour.method}`,
        hue: keys.hue(contour.model),
        dash: 0,
        mark: keys.mark(contour.method),
        points: list(contour.points).map((point) => {
          const y = estimate(point.testFlops);
          return {
            x: number(point.trainFlops),
            y: y?.value ?? null,
            low: y?.low ?? null,
            high: y?.high ?? null,
            text:
              y === null
                ? `does not reach it with ${flops(number(point.trainFlops))} of training.`
                : `trained for ${flops(number(point.trainFlops))}: ${spread(y)} FLOPs per query.`,
          };
        }),
      })),
  });
  draw();
  return figure({
    name: 'contours',
    title: 'Equal accuracy from more training or more thinking',
    body: [h('div', { class: 'choices' }, chosen.element), legend(known), plot.element],
    caption:
      'Each curve joins the training and test-time compute at which the same share of the test ' +
      'queries is solved. Where a training budget does not reach it, there is no point.',
    picture: () =>
      picture(`Equal accuracy: ${[...chosen.chosen()].map(level).join()} solved`, choose()),
    rows: () => [
      ['model', 'method', 'level', 'trainFlops', 'testFlops', 'testFlopsLow', 'testFlopsHigh'],
      ...known
        .filter((contour) => chosen.chosen().has(contour.level))
        .flatMap((contour) =>
          list(contour.points).map((point) => {
            const y = estimate(point.testFlops);
            const { model, method } = contour;
            return [model, method, contour.level, point.trainFlops, y?.value, y?.low, y?.high];
          }),
        ),
    ],
  });

  function legend(lines) {
    const item = (label, one) => h('li', {}, chipIcon(one), label);
    return h(
      'ul',
      { class: 'legend' },
      distinct(lines.map((line) => line.model)).map((model) =>
        item(model, { hue: keys.hue(model), dash: 0, mark: null }),
      ),
      distinct(lines.map((line) => line.method)).map((method) =>
        item(method, { hue: 5, dash: null, mark: keys.mark(method) }),
      ),
    );
  }
}

function kappa(rows) {
  if (!rows.length) {
    return nothing(
      'No way of answering crosses a level between its measured points at two training budgets: no κ.',
    );
  }
  return h(
    'div',
    {},
    table({
      name: 'kappa',
      title: 'κ: how fast training replaces thinking',
      columns: [
        text('model', 'model', (row) => row.model),
        text('method', 'way of answering', (row) => row.method),
        numbers('level', 'solved, %', (row) => row.level, share),
        estimates('kappa', 'κ (95 % interval)', (row) => row.kappa),
      ],
      rows,
    }),
    h(
      'p',
      { class: 'note' },
      'κ = −d ln C',
      h('sub', {}, 'test'),
      ' / d ln C',
      h('sub', {}, 'train'),
      ' along equal accuracy: with κ = 1, ten times the training saves nine tenths of the compute ' +
        'of a query; with κ near 0 it saves almost nothing.',
    ),
  );
}

function throughput(all) {
  const rate = (point) => estimate(point.queriesPerSecond)?.value ?? 0;
  const known = all.filter((line) => list(line.points).length);
  const reached = known.filter((line) => line.points.some((point) => rate(point) > 0));
  if (!reached.length) {
    return nothing(
      known.length
        ? 'No training budget reaches any of the accuracies: the throughput is zero.'
        : 'No throughput was measured.',
    );
  }
  const plot = new Plot('Queries answered per second at a given accuracy');
  const shown = {
    x: { label: 'training FLOPs', log: true },
    y: { label: 'queries per second', log: true },
    curves: reached.map((line, index) => ({
      label: `${level(line.level)} solved`,
      hue: index,
      dash: index,
      mark: index,
      points: list(line.points).map((point) => {
        const y = estimate(point.queriesPerSecond);
        const isReached = y !== null && y.value > 0;
        const after = `trained for ${flops(number(point.trainFlops))}`;
        return {
          x: number(point.trainFlops),
          y: isReached ? y.value : null,
          low: isReached && y.low > 0 ? y.low : null,
          high: isReached && y.low > 0 ? y.high : null,
          text: isReached
            ? `${after}: ${spread(y)} queries per second.`
            : `${after}: not reached, none.`,
        };
      }),
    })),
  };
  plot.show(shown);
  return figure({
    name: 'throughput',
    title: 'Queries per second at a given accuracy',
    body: [
      h(
        'ul',
        { class: 'legend' },
        shown.curves.map((curve) => h('li', {}, chipIcon(curve), curve.label)),
      ),
      plot.element,
    ],
    caption:
      'X_q(C): by the cheapest way of answering that reaches the accuracy q after C training FLOPs, ' +
      'on this machine. No point: q is not reached, the throughput is zero.',
    picture: () => picture('Queries per second at a given accuracy', shown),
    rows: () => [
      ['level', 'trainFlops', 'queriesPerSecond', 'queriesPerSecondLow', 'queriesPerSecondHigh'],
      ...known.flatMap((line) =>
        list(line.points).map((point) => {
          const y = estimate(point.queriesPerSecond);
          return [line.level, point.trainFlops, y?.value, y?.low, y?.high];
        }),
      ),
    ],
  });
}

function breakEven(rows) {
  if (!rows.length) {
    return nothing('No break-even was asked for.');
  }
  return h(
    'div',
    {},
    table({
      name: 'break-even',
      title: 'Break-even: when the larger model pays',
      columns: [
        numbers('level', 'solved, %', (row) => row.level, share),
        text('small', 'smaller, thinking longer', (row) => row.small),
        text('large', 'larger, thinking less', (row) => row.large),
        estimates('queries', 'queries Q* (95 % interval)', (row) => row.queries, compact),
        text('text', 'in words', (row) => row.text),
      ],
      rows,
    }),
    h(
      'p',
      { class: 'note' },
      'Q* is where both cost the same in all: C',
      h('sub', {}, 'train'),
      ' + Q · C',
      h('sub', {}, 'test'),
      ' FLOPs for Q queries.',
    ),
  );
}

function equalTotals(rows) {
  if (!rows.length) {
    return nothing('No two models were compared at equal compute in all.');
  }
  const whole = (x) => decimal(x, 0);
  return h(
    'div',
    {},
    table({
      name: 'equal-total',
      title: 'Equal compute in all: thinking longer against the larger model',
      columns: [
        numbers('queries', 'queries Q', (row) => row.queries, whole),
        text('method', 'way of answering', (row) => row.method),
        numbers('fraction', 'training budget, %', (row) => row.fraction, share),
        numbers('spend', 'spent, ×', (row) => row.spend, whole),
        numbers('used', 'compute used, %', (row) => row.used, share),
        estimates('difference', 'solved, difference in points', (row) => row.difference, share),
        text('verdict', 'verdict', (row) => row.verdict),
        text('small', 'smaller model', (row) => row.small),
        text('large', 'larger model', (row) => row.large),
        text('rival', 'its way', (row) => row.rival),
      ],
      rows,
    }),
    h(
      'p',
      { class: 'note' },
      `Over Q queries the larger model, ${rows[0].large}, trained in full and answering at once, `,
      'takes C',
      h('sub', {}, 'train'),
      ' + Q · C',
      h('sub', {}, 'test'),
      ` FLOPs; each way of ${rows[0].small} is given the most thinking that was measured and takes ` +
        'no more in all (training budgets within 5\u00a0% count as equal), and the difference is ' +
        'its solved share less the larger model’s. “Caught up”: the whole 95\u00a0% interval is ' +
        'above 0; “not caught up”: below. Every way is listed, none is chosen; of so many ' +
        'intervals about one in twenty misses by chance.',
    ),
  );
}
