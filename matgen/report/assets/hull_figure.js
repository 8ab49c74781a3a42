// Hulls of binary and ternary systems with the candidates in them.

import { binaryHull } from "./binary_hull.js";
import { el } from "./dom.js";
import { figure } from "./figure.js";
import { isNumber, number, plural } from "./format.js";
import { candidate, report } from "./report_data.js";
import { ternaryHull } from "./ternary_hull.js";

export function hullFigure(hull, level = 3) {
  const { system, phases } = hull;
  const rows = (hull.candidates ?? [])
    .filter((one) => one.x && isNumber(one.e) && candidate(one.id))
    .map((one) => ({ ...one, formula: candidate(one.id).formula }));
  const draw = system.length === 2 ? binaryHull : ternaryHull;
  if (system.length > 3 || !phases?.length) return null;
  const stable = phases.filter(({ on_hull: on }) => on).length;
  return figure({
    title: `Hull of ${system.join("–")}`,
    label: `${phases.length} known phases, ${stable} of them on the hull, and ${rows.length} candidates`,
    draw: (width) => draw(hull, rows, width),
    caption: `Filled: ${plural(stable, "stable phase")}. Open: ${plural(phases.length - stable, "phase")} above the hull. Colour: candidates.`,
    table: () => ({
      head: ["phase", ...system.map((symbol) => `share of ${symbol}`), "formation energy (eV/atom)", "on the hull"],
      rows: [
        ...phases.map((phase) => [phase.formula, ...phase.x.map((x) => number(x, 3)), number(phase.e, 3), phase.on_hull ? "yes" : "no"]),
        ...rows.map((row) => [`${row.formula} (candidate)`, ...row.x.map((x) => number(x, 3)), number(row.e, 3), ""]),
      ],
    }),
    level,
    interactive: true,
  });
}

function holds(hull, id) {
  return (hull.candidates ?? []).some((one) => (one.id ?? one) === id);
}

// The hull of the system of one candidate, if it is one that can be drawn.
export function hullOf(one) {
  const hull = (report.hulls ?? []).find((each) => holds(each, one.id));
  return hull ? hullFigure(hull, 4) : null;
}

// One hull at a time, chosen by its elements.
export function hullChoice() {
  const hulls = (report.hulls ?? []).filter(({ system, phases }) => system.length <= 3 && phases?.length);
  if (!hulls.length) return null;
  const place = el("div", { class: "figures single" });
  const show = (at) => place.replaceChildren(hullFigure(hulls[at]));
  const list = el("select", { class: "button", on: { change: () => show(Number(list.value)) } }, hulls.map(({ system }, i) => el("option", { value: i }, system.join("–"))));
  show(0);
  return [hulls.length > 1 ? el("label", { class: "field no-print" }, "System", list) : null, place];
}
