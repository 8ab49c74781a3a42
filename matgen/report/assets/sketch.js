// A drawing of a structure without WebGL: for cards, for the comparison, for paper, and where there is no 3D.

import { atomsShown, bondsShown, CELL_EDGES, cellCorners } from "./crystal.js";
import { freshId, svg } from "./dom.js";
import { element, elementsOf } from "./element_colours.js";
import { projected } from "./projection.js";

const MOST_ATOMS = 400;

function shade(symbol, id) {
  return svg(
    "radialGradient",
    { id, cx: "35%", cy: "32%", r: "75%" },
    svg("stop", { offset: "0%", "stop-color": `color-mix(in oklab, ${element(symbol).colour}, white 55%)` }),
    svg("stop", { offset: "60%", "stop-color": element(symbol).colour }),
    svg("stop", { offset: "100%", "stop-color": `color-mix(in oklab, ${element(symbol).colour}, black 35%)` }),
  );
}

function line([x1, y1], [x2, y2], attributes) {
  return svg("line", { x1, y1: -y1, x2, y2: -y2, ...attributes });
}

export function drawnRadius(symbol, molecule) {
  return molecule ? 0.16 : 0.16 + 0.26 * element(symbol).radius;
}

export function sketch(structure, label, align = "xMidYMid meet") {
  const atoms = atomsShown(structure, 1).slice(0, MOST_ATOMS);
  const molecule = !structure.cell;
  const places = atoms.map((atom) => projected(atom.position));
  const fills = new Map(elementsOf(structure).map((symbol) => [symbol, freshId("shade")]));
  const drawn = atoms.map(({ symbol }, i) => {
    const [x, y, depth] = places[i];
    const r = molecule ? 0.3 : drawnRadius(symbol, molecule);
    return { depth, node: svg("circle", { cx: x, cy: -y, r, fill: `url(#${fills.get(symbol)})` }) };
  });
  for (const [i, j] of bondsShown(structure, atoms)) {
    const node = line(places[i], places[j], { class: "sketch-bond" });
    drawn.push({ depth: (places[i][2] + places[j][2]) / 2 - 0.05, node });
  }
  drawn.sort((a, b) => a.depth - b.depth);
  const corners = structure.cell ? cellCorners(structure.cell).map(projected) : [];
  const all = [...places, ...corners];
  const [xs, ys] = [all.map(([x]) => x), all.map(([, y]) => -y)];
  const [left, top] = [Math.min(...xs) - 1, Math.min(...ys) - 1];
  const box = [left, top, Math.max(...xs) + 1 - left, Math.max(...ys) + 1 - top].map((x) => x.toFixed(2)).join(" ");
  return svg(
    "svg",
    { class: "sketch", viewBox: box, role: "img", "aria-label": label, preserveAspectRatio: align },
    svg("defs", {}, [...fills].map(([symbol, id]) => shade(symbol, id))),
    svg("g", { class: "sketch-cell" }, corners.length ? CELL_EDGES.map(([i, j]) => line(corners[i], corners[j], {})) : []),
    drawn.map(({ node }) => node),
  );
}
