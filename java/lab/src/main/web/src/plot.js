// SPDX-License-Identifier: Apache-2.0
// A plot on the screen: uPlot draws axes and lines, this adds intervals, marks and a reader that
// pointer and arrow keys move from point to point.

import uPlot from 'uplot';
import { axes } from './axes.js';
import { h, onWidth } from './dom.js';
import { dash, hue, mark, onTheme, theme } from './theme.js';

const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif';
const MARK = { wide: 4, narrow: 3 };
const NARROW = 500;
const REACH = 40;

export class Plot {
  #plot = null;
  #drawn = null;
  #width = 0;
  #at = null;
  #host = h('div', { class: 'canvas' });
  #ring = h('div', { class: 'ring', hidden: true });
  #reading = h('p', { class: 'reading', 'aria-live': 'polite' });

  /** The element to put into the page. */
  element;

  constructor(name) {
    this.#host.tabIndex = 0;
    this.#host.setAttribute('role', 'application');
    this.#host.setAttribute('aria-roledescription', 'plot');
    this.#host.setAttribute('aria-label', `${name}; arrow keys read the points`);
    this.#host.addEventListener('keydown', (event) => this.#step(event));
    this.#host.addEventListener('pointermove', (event) => this.#point(event));
    this.#host.addEventListener('pointerdown', (event) => this.#point(event));
    this.element = h('div', { class: 'plot' }, this.#host, this.#reading);
    onWidth(this.#host, (width) => {
      this.#width = width;
      this.#draw();
    });
    onTheme(() => this.#draw());
  }

  /** Shows other curves. */
  show(plot) {
    this.#plot = plot;
    this.#draw();
  }

  #draw() {
    this.#drawn?.destroy();
    this.#drawn = null;
    this.#read(null);
    if (!this.#plot || !this.#width) {
      return;
    }
    const colours = theme();
    const height = Math.round(Math.min(440, Math.max(300, this.#width * 0.56)));
    const { x, y } = axes(this.#plot, this.#width - 60, height - 50);
    const digits = Math.max(...y.ticks.map((tick) => y.text(tick).length), 2);
    const curves = this.#plot.curves;
    const line = (curve) => ({
      stroke: hue(colours, curve.hue),
      width: 1.75,
      dash: dash(curve.dash),
      spanGaps: true,
      points: { show: false },
    });
    const setAxis = (which, label, size) => ({
      label,
      labelSize: 22,
      labelFont: `12px ${FONT}`,
      font: `12px ${FONT}`,
      size,
      gap: 4,
      stroke: colours.muted,
      grid: { stroke: colours.grid, width: 1 },
      ticks: { stroke: colours.grid, width: 1, size: 5 },
      splits: () => which.ticks,
      filter: (self, ticks) => ticks,
      values: (self, ticks) => ticks.map(which.text),
    });
    const scale = (which) => ({
      time: false,
      distr: which.log ? 3 : 1,
      range: () => [which.low, which.high],
    });
    const options = {
      width: this.#width,
      height,
      padding: [10, 14, 0, 0],
      scales: { x: scale(x), y: scale(y) },
      axes: [setAxis(x, this.#plot.x.label, 34), setAxis(y, this.#plot.y.label, 20 + 6.2 * digits)],
      series: [{}, ...curves.map(line)],
      legend: { show: false },
      cursor: { show: false },
      hooks: { draw: [(drawn) => this.#decorate(drawn, colours)] },
    };
    this.#drawn = new uPlot(options, align(curves), this.#host);
    this.#drawn.over.append(this.#ring);
  }

  /** Draws the intervals and the marks over the lines. */
  #decorate(drawn, colours) {
    const { ctx, bbox } = drawn;
    const pixel = uPlot.pxRatio;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top - 6 * pixel, bbox.width + 8 * pixel, bbox.height + 6 * pixel);
    ctx.clip();
    ctx.setLineDash([]);
    for (const curve of this.#plot.curves) {
      const colour = hue(colours, curve.hue);
      const radius = this.#width < NARROW ? MARK.narrow : MARK.wide;
      const outline = new Path2D(mark(curve.mark, radius * pixel));
      for (const point of curve.points.filter((one) => isDrawn(one) && !one.quiet)) {
        const left = drawn.valToPos(point.x, 'x', true);
        const top = drawn.valToPos(point.y, 'y', true);
        ctx.strokeStyle = colour;
        if (point.low !== null && point.high !== null) {
          const ends = [point.low, point.high].map((end) => drawn.valToPos(end, 'y', true));
          ctx.globalAlpha = 0.55;
          ctx.lineWidth = 1.25 * pixel;
          ctx.beginPath();
          ctx.moveTo(left, ends[0]);
          ctx.lineTo(left, ends[1]);
          for (const end of ends) {
            ctx.moveTo(left - 2.5 * pixel, end);
            ctx.lineTo(left + 2.5 * pixel, end);
          }
          ctx.stroke();
          ctx.globalAlpha = 1;
        }
        ctx.save();
        ctx.translate(left, top);
        ctx.fillStyle = curve.hollow ? colours.paper : colour;
        ctx.strokeStyle = curve.hollow ? colour : colours.paper;
        ctx.lineWidth = (curve.hollow ? 1.75 : 1) * pixel;
        ctx.fill(outline);
        ctx.stroke(outline);
        ctx.restore();
        if (curve.hollow) {
          ctx.font = `${12 * pixel}px ${FONT}`;
          ctx.fillStyle = colours.muted;
          ctx.textBaseline = 'middle';
          const isLeft = left > bbox.left + bbox.width / 2;
          ctx.textAlign = isLeft ? 'right' : 'left';
          ctx.fillText(curve.label, left + (isLeft ? -10 : 10) * pixel, top + pixel);
        }
      }
    }
    ctx.restore();
  }

  #point(event) {
    if (!this.#drawn) {
      return;
    }
    const box = this.#drawn.over.getBoundingClientRect();
    let best = null;
    let least = REACH;
    this.#plot.curves.forEach((curve, c) =>
      curve.points.forEach((point, p) => {
        if (isDrawn(point)) {
          const [left, top] = this.#position(point);
          const distance = Math.hypot(
            left - event.clientX + box.left,
            top - event.clientY + box.top,
          );
          if (distance < least) {
            least = distance;
            best = [c, p];
          }
        }
      }),
    );
    if (best) {
      this.#read(best);
    }
  }

  #step(event) {
    const move = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    const [dc, dp] = move[event.key] ?? [0, 0];
    const curves = this.#plot?.curves ?? [];
    if ((!dc && !dp) || !curves.length) {
      return;
    }
    event.preventDefault();
    const clamp = (i, length) => Math.max(0, Math.min(length - 1, i));
    const [c, p] = this.#at ?? [0, -dp];
    const curve = (c + (this.#at ? dc : 0) + curves.length) % curves.length;
    this.#read([curve, clamp(p + dp, curves[curve].points.length)]);
  }

  #position = (point) => [this.#drawn.valToPos(point.x, 'x'), this.#drawn.valToPos(point.y, 'y')];

  #read(at) {
    this.#at = at;
    const point = at && this.#plot.curves[at[0]].points[at[1]];
    this.#ring.hidden = !point || !isDrawn(point);
    if (!point) {
      this.#reading.textContent = this.#plot?.curves.length
        ? 'Point at a mark, or walk with the arrow keys, to read it.'
        : 'Nothing is chosen.';
      return;
    }
    if (isDrawn(point)) {
      const [left, top] = this.#position(point);
      this.#ring.style.transform = `translate(${left}px, ${top}px)`;
    }
    this.#reading.replaceChildren(h('strong', {}, this.#plot.curves[at[0]].label), ' ', point.text);
  }
}

const isDrawn = (point) => point.x !== null && point.y !== null;

/** Returns the curves on one row of x values, as uPlot wants them. */
function align(curves) {
  const tables = curves.map((curve) => {
    const points = curve.points.filter(isDrawn).sort((a, b) => a.x - b.x);
    return [points.map((point) => point.x), points.map((point) => point.y)];
  });
  const filled = tables.map((table) => (table[0].length ? table : [[1], [null]]));
  return filled.length ? uPlot.join(filled) : [[1]];
}
