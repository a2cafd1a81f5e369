// SPDX-License-Identifier: Apache-2.0
// Elements from names, attributes and children. Text is always a text node, never markup.

const SVG = 'http://www.w3.org/2000/svg';

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name.startsWith('on')) {
      node.addEventListener(name.slice(2), value);
    } else if (value === true) {
      node.setAttribute(name, '');
    } else if (value !== false && value !== null && value !== undefined) {
      node.setAttribute(name, value);
    }
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

/** Returns an HTML element. */
export const h = (tag, attributes, ...children) =>
  fill(document.createElement(tag), attributes, children);

/** Returns an SVG element. */
export const svg = (tag, attributes, ...children) =>
  fill(document.createElementNS(SVG, tag), attributes, children);

/** Calls back with the width of an element now and whenever it changes, once per frame. */
export function onWidth(element, callback) {
  let width = 0;
  let waiting = false;
  const look = () => {
    waiting = false;
    const now = Math.floor(element.getBoundingClientRect().width);
    if (now !== width && now > 0) {
      width = now;
      callback(width);
    }
  };
  new ResizeObserver(() => {
    if (!waiting) {
      waiting = true;
      requestAnimationFrame(look);
    }
  }).observe(element);
  look();
}
