// SPDX-License-Identifier: Apache-2.0
// What can be saved: made in the page, fetched from nowhere.

/** Returns rows of values as comma-separated text (RFC 4180); null is an empty field. */
export function csv(rows) {
  const field = (value) => {
    const text = value === null || value === undefined ? '' : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return rows.map((row) => `${row.map(field).join(',')}\r\n`).join('');
}

/** Returns a picture as the text of an SVG file. */
export function svgText(picture) {
  const text = new XMLSerializer().serializeToString(picture);
  return `<?xml version="1.0" encoding="UTF-8"?>\n${text}\n`;
}

/** Saves a text under a name. */
export function save(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  link.click();
  // The browser has to have opened it before it goes.
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
