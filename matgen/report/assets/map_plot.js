// Candidates among known materials.

import { el } from "./dom.js";
import { figure, plot } from "./figure.js";
import { isNumber, number, share, whole } from "./format.js";
import { candidateMarks } from "./marks.js";
import { betweenMarks, betweenTable, endPoints } from "./map_path.js";
import { candidates, material } from "./report_data.js";

function axis(i, { method, explained }) {
  const name = /pca/i.test(method ?? "") ? `component ${i + 1}` : `axis ${i + 1}`;
  return explained?.[i] === undefined ? name : `${name} (${share(explained[i])} of the variance)`;
}

// Most of the points: a few far ones would press all others together.
function middle(known, rows, key) {
  const all = d3.sort(known.map((d) => d[key]));
  const ends = [d3.quantileSorted(all, 0.005), d3.quantileSorted(all, 0.995), ...rows.map((row) => row[key])];
  return d3.extent(ends.filter(isNumber));
}

function drawn(map, rows, width) {
  const known = (map.known ?? []).map(([x, y, formula]) => ({ x, y, formula }));
  const inside = [...rows, ...endPoints(map.path)];
  const drawing = plot({
    width,
    height: Math.max(280, Math.min(440, 0.7 * width)),
    marginLeft: 40,
    marginBottom: 38,
    x: { domain: middle(known, inside, "x"), label: axis(0, map), labelAnchor: "right", ticks: 4, nice: true },
    y: { domain: middle(known, inside, "y"), label: axis(1, map), ticks: 4, nice: true },
    marks: [
      Plot.dot(known, { x: "x", y: "y", r: 2, fill: "var(--ink-3)", fillOpacity: 0.5, clip: true }),
      Plot.dot(rows, { x: "x", y: "y", r: 0 }), // so that the axes hold them
      ...betweenMarks(map.path),
      Plot.tip(known, Plot.pointer({
        x: "x", y: "y", title: "formula", fill: "var(--surface)", stroke: "var(--line-2)", maxRadius: 12,
      })),
    ],
  });
  return candidateMarks(drawing, rows);
}

export function mapFigure(map) {
  const rows = candidates
    .filter((one) => Array.isArray(one.map))
    .map((one) => ({ id: one.id, formula: one.formula, x: one.map[0], y: one.map[1] }));
  if (!rows.length && !map.known?.length) return null;
  const known = map.known?.length ?? 0;
  return figure({
    title: "Among known materials",
    label: `Map of ${rows.length} candidates among ${known} known ${material(known)}${map.path ? `. ${map.path.drawn}` : ""}`,
    draw: (width) => drawn(map, rows, width),
    caption: [
      `${map.method ?? "Map"}. Grey: ${whole(known)} known ${material(known)}; the farthest hundredth may lie outside. `,
      map.path ? el("p", { class: "path-text" }, map.path.text) : null,
      `${map.hint ?? ""} Choose a point with a click, or with Tab and the arrow keys.`,
    ],
    table: () => {
      const table = {
        head: ["candidate", axis(0, map), axis(1, map)],
        rows: rows.map((row) => [row.formula, number(row.x, 2), number(row.y, 2)]),
      };
      return map.path ? betweenTable(map.path, rows, table) : table;
    },
    interactive: true,
  });
}
