// SPDX-License-Identifier: Apache-2.0
// Who has which colour, pattern and mark: the same in every figure of the page.

import { distinct, list } from './data.js';

/** Returns the keys of a report: the model's hue, the budget's pattern, the method's mark. */
export function keysOf(data) {
  const curves = list(data.curves);
  const contours = list(data.contours);
  const answers = list(data.map?.queries).flatMap((query) => list(query.answers));
  const all = [...curves, ...contours, ...answers];
  const models = distinct(all.map((one) => one.model));
  const methods = distinct(all.map((one) => one.method));
  const fractions = distinct([...curves, ...answers].map((one) => one.fraction)).sort(
    (a, b) => b - a,
  );
  return {
    models,
    methods,
    fractions,
    hue: (model) => models.indexOf(model),
    dash: (fraction) => fractions.indexOf(fraction),
    mark: (method) => methods.indexOf(method),
  };
}
