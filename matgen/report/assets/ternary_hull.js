// The convex hull of a ternary system, seen from below its energies: stable phases and the lines between them.

import { convexHull, edges } from "./convex_hull.js";
import { plot } from "./figure.js";
import { formulaText } from "./format.js";
import { candidateMarks } from "./marks.js";

const HEIGHT = Math.sqrt(3) / 2;

// The first element lies at the left corner, the second at the right one, the third at the top.
export function inTriangle([, second, third]) {
  return { x: second + third / 2, y: third * HEIGHT };
}

// Lines between stable phases that coexist: the edges of the lower faces of the hull.
export function tieLines(stable) {
  const points = stable.map((phase) => {
    const { x, y } = inTriangle(phase.x);
    return [x, y, phase.e];
  });
  const lower = convexHull(points, 1e-6).filter(({ normal }) => normal[2] < -1e-6);
  return edges(lower);
}

const APART = 26; // px between labels

// Names outside of the triangle's sides, above points within it; where two would overlap, the first is kept.
function labels(points, width) {
  const kept = [];
  for (const point of points)
    if (kept.every((other) => Math.hypot(point.x - other.x, point.y - other.y) * width > APART)) kept.push(point);
  const side = ({ fractions: [first, second, third] }) =>
    third < 1e-3 ? "bottom" : second < 1e-3 ? "left" : first < 1e-3 ? "right" : "inside";
  const style = {
    bottom: { dy: 14 }, left: { dx: -9, textAnchor: "end" }, right: { dx: 9, textAnchor: "start" }, inside: { dy: -11 },
  };
  return Object.entries(style).map(([name, place]) =>
    Plot.text(kept.filter((point) => side(point) === name), {
      x: "x", y: "y", text: (d) => formulaText(d.formula), fill: "var(--ink-2)", fontSize: 11, ...place,
    }),
  );
}

export function ternaryHull({ system, phases }, rows, width) {
  const placed = (one) => ({ ...one, fractions: one.x, pure: Math.max(...one.x) > 1 - 1e-6, ...inTriangle(one.x) });
  const onHull = phases.filter(({ on_hull: on }) => on);
  const stable = onHull.map(placed);
  const others = phases.filter(({ on_hull: on }) => !on).map(placed);
  const lines = tieLines(onHull).map(([i, j]) => ({ x1: stable[i].x, y1: stable[i].y, x2: stable[j].x, y2: stable[j].y }));
  const corners = [[1, 0, 0], [0, 1, 0], [0, 0, 1]].map((x, i) => ({ ...inTriangle(x), name: system[i] }));
  const wide = Math.min(width, 520);
  const marks = rows.map((row) => ({ id: row.id, formula: row.formula, ...inTriangle(row.x) }));
  const drawing = plot({
    width: wide,
    height: wide * HEIGHT,
    margin: 40,
    axis: null,
    aspectRatio: 1,
    x: { domain: [0, 1] },
    y: { domain: [0, HEIGHT] },
    marks: [
      Plot.line([...corners, corners[0]], { x: "x", y: "y", stroke: "var(--line-2)" }),
      Plot.link(lines, { x1: "x1", y1: "y1", x2: "x2", y2: "y2", stroke: "var(--ink-3)" }),
      Plot.dot(others, { x: "x", y: "y", r: 2.5, stroke: "var(--ink-3)" }),
      Plot.dot(stable, { x: "x", y: "y", r: 4, fill: "var(--ink-2)" }),
      labels(stable.filter(({ pure }) => !pure), wide),
      Plot.text(corners.slice(0, 2), { x: "x", y: "y", text: "name", dy: 18, fontWeight: 600, fill: "var(--ink)" }),
      Plot.text(corners.slice(2), { x: "x", y: "y", text: "name", dy: -18, fontWeight: 600, fill: "var(--ink)" }),
      Plot.tip([...stable, ...others], Plot.pointer({
        x: "x", y: "y", fill: "var(--surface)", stroke: "var(--line-2)", maxRadius: 14,
        title: (d) => `${d.formula}\n${d.e.toFixed(3)} eV/atom`,
      })),
    ],
  });
  return candidateMarks(drawing, marks);
}
