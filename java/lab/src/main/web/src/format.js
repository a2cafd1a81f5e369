// SPDX-License-Identifier: Apache-2.0
// Numbers as people read them. THIN is a narrow space that does not break.

const THIN = '\u202f';
const RAISED = '⁰¹²³⁴⁵⁶⁷⁸⁹';

export const NONE = '–';

const signed = (text) => text.replace('-', '−');

/** Returns ten to a whole power, such as 10⁶. */
export function power(exponent) {
  const digits = String(Math.abs(exponent)).replace(/\d/g, (d) => RAISED[d]);
  return `10${exponent < 0 ? '⁻' : ''}${digits}`;
}

/** Returns the digits of a number with the thousands set apart. */
export function decimal(x, places) {
  const [whole, part] = Math.abs(x).toFixed(places).split('.');
  const grouped = whole.length > 4 ? whole.replace(/\B(?=(\d{3})+$)/g, THIN) : whole;
  const isZero = !/[1-9]/.test(whole + (part ?? ''));
  return `${x < 0 && !isZero ? '−' : ''}${grouped}${part ? `.${part}` : ''}`;
}

/** Returns a number of any size in about as many significant digits. */
export function compact(x, digits = 3) {
  if (x === null) {
    return NONE;
  }
  const size = Math.abs(x);
  if (size === 0) {
    return '0';
  }
  if (size < 1e-2 || size >= 1e5) {
    const [mantissa, exponent] = x.toExponential(digits - 1).split('e');
    return `${signed(mantissa)}${THIN}×${THIN}${power(Number(exponent))}`;
  }
  if (Number.isInteger(x)) {
    return decimal(x, 0);
  }
  return decimal(x, Math.max(0, digits - 1 - Math.floor(Math.log10(size))));
}

/** Returns a FLOP count with its unit. */
export const flops = (x) => (x === null ? NONE : `${compact(x, 3)} FLOPs`);

/** Returns a share as percent, without the sign. */
export const share = (x) => (x === null ? NONE : decimal(100 * x, 1));

/** Returns a share as percent. */
export const percent = (x) => (x === null ? NONE : `${share(x)}${THIN}%`);

/** Returns an estimate and its interval; the numbers as the given function sets them. */
export function spread(estimate, set = compact) {
  if (estimate === null) {
    return NONE;
  }
  const { value, low, high } = estimate;
  return low === null || high === null ? set(value) : `${set(value)} (${set(low)} to ${set(high)})`;
}

/** Returns an estimated share as percent with its interval. */
export const percentSpread = (estimate) =>
  estimate === null ? NONE : `${spread(estimate, share)}${THIN}%`;

/** Returns a part of the training budget: full, 1/4, 1/16. */
export function budget(fraction) {
  if (fraction === null || fraction === undefined) {
    return NONE;
  }
  if (fraction === 1) {
    return 'full';
  }
  const parts = 1 / fraction;
  return Math.abs(parts - Math.round(parts)) < 1e-6 * parts
    ? `1/${Math.round(parts)}`
    : compact(fraction);
}

/** Returns a field's name as words: testFlopsPerQuery becomes test FLOPs per query. */
export function words(name) {
  return name
    .replace(/([a-z0-9])([A-Z])/g, '$1 $2')
    .toLowerCase()
    .replace(/\bflops\b/g, 'FLOPs');
}
