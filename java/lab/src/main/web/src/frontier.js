// SPDX-License-Identifier: Apache-2.0
// The frontier: accuracy against the compute of a query, a curve for each model, way of answering
// and training budget.

import { distinct, estimate, list, number } from './data.js';
import { chips } from './choice.js';
import { h } from './dom.js';
import { figure, nothing, section } from './figure.js';
import { budget, flops, percent, percentSpread } from './format.js';
import { picture } from './picture.js';
import { Plot } from './plot.js';
import { rounds } from './rounds.js';

const FEW = 12;

export function frontier(data, keys) {
  const curves = list(data.curves).filter((curve) => list(curve.points).length);
  const baselines = list(data.baselines);
  const title = 'What thinking longer buys';
  if (!curves.length && !baselines.length) {
    return section('frontier', title, nothing('No way of answering was measured.'));
  }

  const plot = new Plot('Accuracy against test-time compute');
  const draw = () => plot.show(choose());
  const flat = { hue: 5, dash: 0, mark: null };
  const compared = chips(
    'Without learning',
    baselines.map((baseline, index) => ({
      value: index,
      label: baseline.method,
      sample: { hue: 5, dash: null, mark: 3 + index, hollow: true },
      on: true,
    })),
    true,
    draw,
  );
  const measure = chips(
    'Accuracy',
    [
      { value: 'solved', label: 'solved', on: true },
      { value: 'optimal', label: 'optimal', on: false },
    ],
    false,
    draw,
  );
  const model = chips(
    'Model',
    distinct(curves.map((curve) => curve.model)).map((value) => ({
      value,
      label: value,
      sample: { ...flat, hue: keys.hue(value), mark: null },
      on: true,
    })),
    true,
    draw,
  );
  const fraction = chips(
    'Training budget',
    keys.fractions
      .filter((value) => curves.some((curve) => curve.fraction === value))
      .map((value) => ({
        value,
        label: budget(value),
        sample: { ...flat, dash: keys.dash(value) },
        on: true,
      })),
    true,
    draw,
  );
  const shown = firstMethods(curves);
  const method = chips(
    'Way of answering',
    distinct(curves.map((curve) => curve.method)).map((value) => ({
      value,
      label: value,
      sample: { hue: 5, dash: null, mark: keys.mark(value) },
      on: shown.has(value),
    })),
    true,
    draw,
  );

  function choose() {
    const [what] = measure.chosen();
    const chosen = curves.filter(
      (curve) =>
        model.chosen().has(curve.model) &&
        fraction.chosen().has(curve.fraction) &&
        method.chosen().has(curve.method),
    );
    const beside = baselines.filter((baseline, index) => compared.chosen().has(index));
    return {
      x: { label: 'test FLOPs per query', log: true },
      y: { label: `${what}, % of the test queries`, share: true },
      what,
      sources: [...chosen, ...beside],
      curves: [
        ...chosen.map((curve) => ({
          label: nameOf(curve),
          hue: keys.hue(curve.model),
          dash: keys.dash(curve.fraction),
          mark: keys.mark(curve.method),
          points: list(curve.points).map((point) => mark(point, what)),
        })),
        ...beside.map((baseline) => ({
          label: baseline.method,
          hue: 5,
          dash: null,
          mark: 3 + baselines.indexOf(baseline),
          hollow: true,
          points: [mark(baseline, what)],
        })),
      ],
    };
  }

  draw();
  return section(
    'frontier',
    title,
    figure({
      name: 'frontier',
      title: 'Accuracy against the compute spent on a query',
      body: [
        h(
          'div',
          { class: 'choices' },
          measure.element,
          model.element,
          fraction.element,
          method.element,
          baselines.length ? compared.element : null,
        ),
        plot.element,
      ],
      caption:
        'A curve for each model (colour), training budget (line) and way of answering (mark), over ' +
        'growing test-time compute; bars are 95\u00a0% intervals. Hollow marks learn nothing.',
      picture: () => {
        const chosen = choose();
        return picture(`Accuracy (${chosen.what}) against test FLOPs per query`, chosen);
      },
      rows: () => rows(choose().sources),
    }),
    rounds(data, keys),
  );
}

/**
 * Returns the ways of answering to show first: all, or, of those that most models have and that do
 * not look at the map while they write, the one that gains most from compute.
 */
function firstMethods(curves) {
  const methods = distinct(curves.map((curve) => curve.method));
  if (curves.length <= FEW) {
    return new Set(methods);
  }
  const gain = (curve) => {
    const known = list(curve.points).map((point) => estimate(point.solved)?.value ?? 0);
    return known.at(-1) - known[0];
  };
  const ranked = methods.map((method) => {
    const own = curves.filter((curve) => curve.method === method);
    const gained = own.reduce((sum, curve) => sum + gain(curve), 0);
    return { method, rank: [method.includes('on the map') ? 0 : 1, own.length, gained] };
  });
  const above = (a, b) => {
    const i = a.findIndex((value, index) => value !== b[index]);
    return i >= 0 && a[i] > b[i];
  };
  const first = ranked.reduce((best, one) => (above(one.rank, best.rank) ? one : best));
  return new Set([first.method]);
}

const nameOf = (curve) =>
  `${curve.model}, ${curve.method}, ${budget(curve.fraction)}` +
  `${curve.fraction === 1 ? '' : ' of the'} training budget (${flops(number(curve.trainFlops))})`;

function mark(point, what) {
  const y = estimate(point[what]);
  const worst = number(point.worstSolved);
  const spent = number(point.spend) === null ? '' : `spending ${point.spend}: `;
  return {
    x: number(point.testFlops) > 0 ? number(point.testFlops) : null,
    y: y?.value ?? null,
    low: y?.low ?? null,
    high: y?.high ?? null,
    text:
      `${spent}${flops(number(point.testFlops))} per query, ` +
      `${percentSpread(estimate(point.solved))} solved, ` +
      `${percentSpread(estimate(point.optimal))} optimal` +
      `${worst === null ? '' : `, worst seed ${percent(worst)} solved`}.`,
  };
}

const FIELDS = (
  'model,parameters,method,fraction,trainFlops,seeds,spend,testFlops,solved,' +
  'solvedLow,solvedHigh,optimal,optimalLow,optimalHigh,worstSolved'
).split(',');

function rows(curves) {
  const records = curves.flatMap((curve) =>
    list(curve.points ?? [curve]).map((point) => {
      const [solved, optimal] = [estimate(point.solved), estimate(point.optimal)];
      return {
        ...curve,
        ...point,
        solved: solved?.value,
        solvedLow: solved?.low,
        solvedHigh: solved?.high,
        optimal: optimal?.value,
        optimalLow: optimal?.low,
        optimalHigh: optimal?.high,
      };
    }),
  );
  return [FIELDS, ...records.map((record) => FIELDS.map((field) => record[field]))];
}
