// The way between the two requests of an interpolation, on the map.

import { number, share } from "./format.js";

// Examples of both requests, and the stations of the line: what the axes have to hold.
export function endPoints(path) {
  return (path?.ends ?? []).flatMap((end) => end.points.map(([x, y, example]) => ({ x, y, example, end: end.name })));
}

// Half the pixels that a name of one line and a diamond take, with their strokes; and those of a letter.
const [LETTER, LINE, DIAMOND] = [8, 11, { w: 8, h: 12 }];

// Over the highest point of each end its name, as high as it covers no diamond and no other name, or else below the lowest.
function placed(names, diamonds) {
  const taken = [];
  const free = (name, x, from, step) => {
    const half = (LETTER * name.length) / 2;
    const others = [...diamonds.map((d) => ({ ...d, ...DIAMOND })), ...taken];
    let y = from + step * (DIAMOND.h + LINE);
    for (let hit; (hit = others.find((o) => Math.abs(o.x - x) < half + o.w && Math.abs(o.y - y) < LINE + o.h)); ) y = hit.y + step * (LINE + hit.h + 0.5);
    return { x, y, w: half, h: LINE };
  };
  return names.map((name) => {
    const own = diamonds.filter(({ end }) => end === name);
    const [high, low] = [d3.least(own, ({ y }) => y), d3.greatest(own, ({ y }) => y)];
    const above = free(name, high.x, high.y, -1);
    const place = above.y > LINE ? above : free(name, high.x, low.y, 1);
    taken.push(place);
    return place.y;
  });
}

function nameMark(path) {
  const shown = path.ends.filter(({ points }) => points.length);
  const data = shown.map(({ name, points }) => ({ name, x: d3.greatest(points, (point) => point[1])[0], y: points[0][1] }));
  const moved = (all, facets, channels, { x, y }) => {
    const diamonds = endPoints(path).map((point) => ({ end: point.end, x: x(point.x), y: y(point.y) }));
    return { data: all, facets, channels: { y: { value: placed(shown.map(({ name }) => name), diamonds), source: null } } };
  };
  const style = { fontWeight: 600, fill: "var(--ink)", stroke: "var(--surface)", strokeWidth: 4, ariaDescription: "Names of the requests" };
  return Plot.text(data, Plot.initializer({ x: "x", y: "y", text: "name", ...style }, moved));
}

// What the cross is: one candidate is no mean.
function crossed({ candidates }) {
  return candidates === 1 ? "the candidate" : "mean of the candidates";
}

export function betweenMarks(path) {
  if (!path) return [];
  const line = path.line.map(([x, y]) => ({ x, y }));
  const at = { x: "x", y: "y" };
  return [
    line.length > 1
      ? Plot.line(line, { ...at, stroke: "var(--ink)", strokeDasharray: "4 3", strokeWidth: 1.5, ariaDescription: "Way between the requests" })
      : null,
    Plot.dot([{ x: path.middle[0], y: path.middle[1] }], {
      ...at, symbol: "times", r: 5, stroke: "var(--ink)", strokeWidth: 2, ariaDescription: "Mean of the candidates", title: () => crossed(path),
    }),
    Plot.dot(endPoints(path), {
      ...at, symbol: "diamond", r: 5, fill: "var(--warm)", stroke: "var(--ink)", ariaDescription: "Examples of the requests",
      ariaLabel: ({ end, example }) => `${end}: ${example}`, title: ({ end, example }) => `${end}: ${example}`,
    }),
    nameMark(path),
  ];
}

// The examples of the first request, candidates by their position, their mean, the examples of the second.
export function betweenTable(path, rows, { head, rows: cells }) {
  const [a, b] = path.ends.map(({ name, points }) => points.map(([x, y, example]) => [`${name}: ${example}`, number(x, 2), number(y, 2)]));
  const mean = [crossed(path), ...path.middle.map((x) => number(x, 2))];
  if (!path.along) return { head, rows: [...a, ...cells, mean, ...b] };
  const [first, last] = path.ends.map(({ name }) => name);
  const measured = (row, at) => [...row, ...(at ?? [null, null]).map(share)];
  const placed = rows
    .map(({ id }, i) => ({ row: cells[i], at: path.along[id] }))
    .sort((one, other) => one.at?.[0] - other.at?.[0])
    .map(({ row, at }) => measured(row, at));
  const ofEnd = (row) => measured(row);
  return {
    head: [...head, `along the way from ${first} to ${last}`, "aside, of its length"],
    rows: [...a.map(ofEnd), ...placed, measured(mean, path.middle_along), ...b.map(ofEnd)],
  };
}
