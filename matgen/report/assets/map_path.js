// The way between the two requests of an interpolation, on the map.

import { number, share } from "./format.js";

// Examples of both requests, and the stations of the line: what the axes have to hold.
export function endPoints(path) {
  return (path?.ends ?? []).flatMap((end) => end.points.map(([x, y, example]) => ({ x, y, example, end: end.name })));
}

// Over each end its name, beside the point or the mean of its points.
function names(ends) {
  return ends.filter(({ middle }) => middle).map(({ name, middle: [x, y] }) => ({ x, y, name }));
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
      ...at, symbol: "times", r: 5, stroke: "var(--ink)", strokeWidth: 2, ariaDescription: "Mean of the candidates", title: () => "mean of the candidates",
    }),
    Plot.dot(endPoints(path), {
      ...at, symbol: "diamond", r: 5, fill: "var(--warm)", stroke: "var(--ink)", ariaDescription: "Examples of the requests",
      ariaLabel: ({ end, example }) => `${end}: ${example}`, title: ({ end, example }) => `${end}: ${example}`,
    }),
    Plot.text(names(path.ends), {
      ...at, text: "name", dy: -14, fontWeight: 600, fill: "var(--ink)", stroke: "var(--surface)", strokeWidth: 4, ariaDescription: "Names of the requests",
    }),
  ];
}

// The examples of the first request, candidates by their position, their mean, the examples of the second.
export function betweenTable(path, rows, { head, rows: cells }) {
  const [a, b] = path.ends.map(({ name, points }) => points.map(([x, y, example]) => [`${name}: ${example}`, number(x, 2), number(y, 2)]));
  const mean = ["mean of the candidates", ...path.middle.map((x) => number(x, 2))];
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
