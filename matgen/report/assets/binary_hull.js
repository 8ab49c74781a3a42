// The convex hull of a binary system: formation energy over composition.

import { plot } from "./figure.js";
import { formulaText } from "./format.js";
import { candidateMarks } from "./marks.js";

export function binaryHull({ system, phases }, rows, width) {
  const points = phases.map(({ x, e, formula, on_hull: on }) => ({ x: x[1], y: e, formula, on }));
  const onHull = points.filter(({ on }) => on).sort((a, b) => a.x - b.x);
  const drawing = plot({
    width,
    height: 300,
    marginLeft: 52,
    marginBottom: 38,
    x: { domain: [0, 1], label: `share of ${system[1]} in ${system.join("–")}`, labelAnchor: "right", ticks: 5, tickFormat: "%" },
    y: { label: "formation energy (eV/atom)", grid: true, nice: true, ticks: 5 },
    marks: [
      Plot.line(onHull, { x: "x", y: "y", stroke: "var(--ink-2)" }),
      Plot.dot(points.filter(({ on }) => !on), { x: "x", y: "y", r: 3, stroke: "var(--ink-3)" }),
      Plot.dot(onHull, { x: "x", y: "y", r: 4, fill: "var(--ink-2)" }),
      Plot.text(onHull, { x: "x", y: "y", text: (d) => formulaText(d.formula), dy: 14, fill: "var(--ink-2)", fontSize: 11 }),
      Plot.dot(rows, { x: (d) => d.x[1], y: "e", r: 0 }),
      Plot.tip(points, Plot.pointer({
        x: "x", y: "y", fill: "var(--surface)", stroke: "var(--line-2)", maxRadius: 14,
        title: (d) => `${d.formula}\n${d.y.toFixed(3)} eV/atom`,
      })),
    ],
  });
  return candidateMarks(drawing, rows.map((row) => ({ id: row.id, formula: row.formula, x: row.x[1], y: row.e })));
}
