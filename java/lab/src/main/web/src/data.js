// SPDX-License-Identifier: Apache-2.0
// The report's data, as the lab wrote it into the page.

/** Returns the value; every table that was packed by columns is a list of objects again. */
export function unpack(value) {
  if (Array.isArray(value)) {
    return value.map(unpack);
  }
  if (value === null || typeof value !== 'object') {
    return value;
  }
  if ('@columns' in value) {
    const columns = Object.entries(value['@columns']).map(([name, part]) => [name, column(part)]);
    return Array.from({ length: value['@count'] }, (_, row) =>
      Object.fromEntries(columns.map(([name, cells]) => [name, cells[row]])),
    );
  }
  return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, unpack(part)]));
}

/** A column names each distinct value once where that is shorter. */
function column(part) {
  if (!('@of' in part)) {
    return unpack(part);
  }
  const values = part['@of'].map(unpack);
  return part['@at'].map((index) => values[index]);
}

/** Returns the list, or an empty one where there is none. */
export const list = (value) => (Array.isArray(value) ? value : []);

/** Returns the number, or null where it was not measured. */
export const number = (value) => (typeof value === 'number' && isFinite(value) ? value : null);

/** Whether a value is an estimate: a number with its interval. */
export const isEstimate = (value) =>
  value !== null && typeof value === 'object' && !Array.isArray(value) && 'value' in value;

/** Returns an estimate as {value, low, high}, or null where nothing was measured. */
export function estimate(value) {
  if (!isEstimate(value)) {
    const plain = number(value);
    return plain === null ? null : { value: plain, low: null, high: null };
  }
  const middle = number(value.value);
  return middle === null
    ? null
    : { value: middle, low: number(value.low), high: number(value.high) };
}

/** Returns the distinct values in the order of their first appearance. */
export const distinct = (values) => [...new Set(values)];
