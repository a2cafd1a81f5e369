// SPDX-License-Identifier: Apache-2.0
// Where the states of a looped model go when it is applied more often than it was trained to.

import { distinct, list, number } from './data.js';
import { h } from './dom.js';
import { figure } from './figure.js';
import { budget, compact } from './format.js';
import { icon } from './choice.js';
import { picture } from './picture.js';
import { Plot } from './plot.js';

/** Returns the figure, or null where no model loops. */
export function rounds(data, keys) {
  const looped = list(data.training).filter((one) => list(one.going?.residuals).length);
  if (!looped.length) {
    return null;
  }
  const groups = distinct(looped.map((one) => JSON.stringify([one.model, one.fraction ?? 1])));
  const curves = groups.map((group) => {
    const [model, fraction] = JSON.parse(group);
    const seeds = looped.filter((one) => one.model === model && (one.fraction ?? 1) === fraction);
    return curve(model, fraction, seeds, keys);
  });
  const shown = {
    x: { label: 'rounds', log: true },
    y: { label: 'change of the state, relative', log: true },
    curves,
  };
  const plot = new Plot('Change of the state against rounds');
  plot.show(shown);
  const title = 'Where a looped model goes';
  return figure({
    name: 'rounds',
    title,
    body: [
      h(
        'ul',
        { class: 'legend' },
        curves.map((one) => h('li', {}, icon(one), one.label)),
      ),
      plot.element,
    ],
    caption:
      'The median over the states of |h(r+1) − h(r)| / |h(r+1)| after each round, also past the ' +
      'rounds of training; bars reach from the least to the greatest seed. Falling towards zero ' +
      'is a fixed point.',
    picture: () => picture(`${title}: change of the state against rounds`, shown),
    rows: () => [
      ['model', 'fraction', 'seed', 'trainedRounds', 'round', 'residual'],
      ...looped.flatMap((one) =>
        list(one.going.residuals).map((residual, i) => [
          one.model,
          one.fraction,
          one.seed,
          one.going.trainedRounds,
          i + 1,
          residual,
        ]),
      ),
    ],
  });
}

function curve(model, fraction, seeds, keys) {
  const trained = number(seeds[0].going.trainedRounds);
  const length = Math.max(...seeds.map((one) => one.going.residuals.length));
  return {
    label: `${model}, ${fraction === 1 ? 'full' : `${budget(fraction)} of the`} training budget`,
    hue: keys.hue(model),
    dash: keys.dash(fraction),
    mark: keys.dash(fraction),
    points: Array.from({ length }, (_, i) => {
      const values = seeds
        .map((one) => number(one.going.residuals[i]))
        .filter((value) => value > 0)
        .sort((a, b) => a - b);
      const middle = values[values.length >> 1] ?? null;
      return {
        x: i + 1,
        quiet: !Number.isInteger(Math.log2(i + 1)),
        y: middle,
        low: values.length > 1 ? values[0] : null,
        high: values.length > 1 ? values.at(-1) : null,
        text:
          `after ${i + 1} ${i ? 'rounds' : 'round'}: ${compact(middle)}` +
          `${trained !== null && i + 1 > trained ? `, past the ${trained} of training` : ''}.`,
      };
    }),
  };
}
