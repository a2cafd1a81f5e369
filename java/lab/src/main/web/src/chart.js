// SPDX-License-Identifier: Apache-2.0
// The map itself: states, places and two paths, drawn at any width.

import { geoAlbersUsa, geoPath } from 'd3-geo';
import { feature, mesh } from 'topojson-client';
import atlas from 'us-atlas/states-10m.json';
import { svg } from './dom.js';

const RADIUS_KILOMETRES = 6371.0088;
const APART = { AK: '02', HI: '15' };
const ASPECT = 0.62;

/** Returns the great-circle distance of two places in kilometres. */
export function kilometres(a, b) {
  const radians = Math.PI / 180;
  const [up, over] = [(b.latitude - a.latitude) / 2, (b.longitude - a.longitude) / 2];
  const haversine =
    Math.sin(up * radians) ** 2 +
    Math.cos(a.latitude * radians) * Math.cos(b.latitude * radians) * Math.sin(over * radians) ** 2;
  return 2 * RADIUS_KILOMETRES * Math.asin(Math.min(1, Math.sqrt(haversine)));
}

/** Returns the states that hold places: the contiguous ones, and the others where needed. */
function land(cities) {
  const used = new Set(cities.map((city) => city.state));
  const hidden = new Set(
    Object.keys(APART)
      .filter((s) => !used.has(s))
      .map((s) => APART[s]),
  );
  const states = {
    type: 'GeometryCollection',
    geometries: atlas.objects.states.geometries.filter(
      (state) => !hidden.has(state.id) && Number(state.id) <= 56,
    ),
  };
  return {
    area: feature(atlas, states),
    borders: mesh(atlas, states, (a, b) => a !== b),
  };
}

const lands = new WeakMap();

/**
 * Returns the map as an SVG element.
 *
 * cities: all places; truth, answer: lists of places; isEdge(a, b): whether a step may be taken;
 * near: to show the surroundings of the paths alone; title: what is seen, in words
 */
export function chart({ cities, truth, answer, isEdge, near, title, width, colours }) {
  if (!lands.has(cities)) {
    lands.set(cities, land(cities));
  }
  const height = Math.round(width * ASPECT);
  const corners = near ? [...truth, ...answer].map((city) => [city.longitude, city.latitude]) : [];
  const { ground, projection } = groundOf(cities, width, height, corners, colours);
  const at = (city) => projection([city.longitude, city.latitude]);

  return svg(
    'svg',
    {
      xmlns: 'http://www.w3.org/2000/svg',
      width,
      height,
      viewBox: `0 0 ${width} ${height}`,
      role: 'img',
      'aria-label': title,
      'font-family': 'system-ui, -apple-system, "Segoe UI", Roboto, Helvetica, Arial, sans-serif',
      'font-size': 12,
    },
    svg('title', {}, title),
    svg('rect', { width, height, fill: colours.paper }),
    ground,
    line('truth', truth, at, { stroke: colours.truth, 'stroke-width': 7, opacity: 0.5 }),
    steps(answer, at, isEdge, colours),
    stops(truth, answer, at, colours),
    labels(truth, answer, at, width, height, colours),
  );
}

/** The last ground of each set of colours: only the paths change while somebody slides. */
const grounds = new Map();

/** Returns states and places, drawn, and the projection that puts them there. */
function groundOf(cities, width, height, corners, colours) {
  const wanted = JSON.stringify([width, corners]);
  const known = grounds.get(colours);
  if (known?.wanted === wanted && known.cities === cities) {
    return known;
  }
  const { area, borders } = lands.get(cities);
  const margin = corners.length ? Math.max(28, width * 0.08) : 8;
  const projection = geoAlbersUsa().fitExtent(
    [
      [margin, margin],
      [width - margin, height - margin],
    ],
    corners.length ? { type: 'MultiPoint', coordinates: corners } : area,
  );
  const path = geoPath(projection).digits(1);
  const spots = cities
    .map((city) => projection([city.longitude, city.latitude]))
    .filter((spot) => spot && inside(spot, width, height));
  const ground = svg(
    'g',
    { fill: 'none', stroke: colours.border },
    svg('path', { d: path(area), fill: colours.land }),
    svg('path', { d: path(borders), 'stroke-width': 0.75 }),
    svg('path', {
      class: 'cities',
      d: spots.map(([x, y]) => `M${x.toFixed(1)},${y.toFixed(1)}h0`).join(''),
      stroke: colours.city,
      'stroke-width': corners.length ? 3 : cities.length > 600 ? 1.7 : 2.4,
      'stroke-linecap': 'round',
    }),
  );
  const made = { wanted, cities, ground, projection };
  grounds.set(colours, made);
  return made;
}

const inside = ([x, y], width, height) => x >= 0 && y >= 0 && x <= width && y <= height;

const points = (places, at) =>
  places
    .map(at)
    .filter(Boolean)
    .map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`);

const line = (name, places, at, look) =>
  svg('path', {
    class: name,
    d: places.length > 1 ? `M${points(places, at).join('L')}` : null,
    fill: 'none',
    'stroke-linejoin': 'round',
    'stroke-linecap': 'round',
    ...look,
  });

/** The predicted path, step by step: a step that is no edge is dashed and in another colour. */
function steps(places, at, isEdge, colours) {
  const group = svg('g', { class: 'answer', fill: 'none', 'stroke-linecap': 'round' });
  for (let i = 1; i < places.length; i++) {
    const good = isEdge(places[i - 1], places[i]);
    group.append(
      svg('path', {
        d: `M${points([places[i - 1], places[i]], at).join('L')}`,
        class: good ? 'edge' : 'jump',
        stroke: good ? colours.answer : colours.wrong,
        'stroke-width': 2.25,
        'stroke-dasharray': good ? null : '2 5',
      }),
    );
  }
  return group;
}

function stops(truth, answer, at, colours) {
  const group = svg('g', { class: 'stops' });
  const dot = (city, r, look) => {
    const spot = at(city);
    if (spot) {
      group.append(
        svg(
          'circle',
          { cx: spot[0].toFixed(1), cy: spot[1].toFixed(1), r, ...look },
          svg('title', {}, `${city.name}, ${city.state}`),
        ),
      );
    }
  };
  truth
    .slice(1, -1)
    .forEach((city) =>
      dot(city, 3.5, { fill: colours.paper, stroke: colours.truth, 'stroke-width': 1.5 }),
    );
  answer.slice(1).forEach((city) => dot(city, 2.5, { fill: colours.answer }));
  if (truth.length) {
    const ends = { stroke: colours.paper, 'stroke-width': 1.5, fill: colours.ink };
    dot(truth[0], 5.5, ends);
    dot(truth.at(-1), 7, { fill: colours.paper, stroke: colours.ink, 'stroke-width': 2 });
    dot(truth.at(-1), 3.5, { fill: colours.ink });
  }
  return group;
}

/** Names of the ends always, of other stops where there is room. */
function labels(truth, answer, at, width, height, colours) {
  const group = svg('g', {
    class: 'names',
    fill: colours.ink,
    stroke: colours.paper,
    'stroke-width': 3,
    'stroke-linejoin': 'round',
    'paint-order': 'stroke',
  });
  const ends = truth.length ? [truth[0], truth.at(-1)] : [];
  const others = [...new Set([...truth, ...answer])].filter((city) => !ends.includes(city));
  const taken = [...ends, ...others]
    .map(at)
    .filter(Boolean)
    .map(([x, y]) => [x - 4, y - 4, x + 4, y + 4]);
  const name = (city, isEnd) => {
    const spot = at(city);
    if (!spot || !inside(spot, width, height)) {
      return;
    }
    const [x, y] = spot;
    const long = city.name.length * (isEnd ? 8.2 : 6.9);
    const places = [
      ['start', x + 10, y + 4],
      ['end', x - 10, y + 4],
      ['middle', x, y - 11],
      ['middle', x, y + 20],
    ];
    const box = ([anchor, left, base]) => {
      const start = anchor === 'start' ? left : anchor === 'end' ? left - long : left - long / 2;
      return [start, base - 11, start + long, base + 3];
    };
    const fits = (place) => {
      const [l, t, r, b] = box(place);
      const isIn = l >= 2 && t >= 2 && r <= width - 2 && b <= height - 2;
      return isIn && !taken.some((o) => l < o[2] && r > o[0] && t < o[3] && b > o[1]);
    };
    const isIn = (place) => box(place)[0] >= 2 && box(place)[2] <= width - 2;
    const place = places.find(fits) ?? (isEnd ? (places.find(isIn) ?? places[2]) : null);
    if (place) {
      taken.push(box(place));
      group.append(
        svg(
          'text',
          {
            x: place[1].toFixed(1),
            y: place[2].toFixed(1),
            'text-anchor': place[0],
            'font-weight': isEnd ? 700 : 400,
            'font-size': isEnd ? 13 : 11.5,
          },
          city.name,
        ),
      );
    }
  };
  ends.forEach((city) => name(city, true));
  others.forEach((city) => name(city, false));
  return group;
}
