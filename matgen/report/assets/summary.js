// The strip of a few figures under the heading.

import { el } from "./dom.js";
import { isNumber, number, seconds, share, whole } from "./format.js";
import { candidates, found, passesAll, report, targets, value } from "./report_data.js";

function tile(label, figure, more) {
  return el("div", { class: "tile" }, el("dt", {}, label), el("dd", {}, el("span", { class: "figure-large" }, figure), el("span", { class: "more" }, more ?? "")));
}

function counts() {
  const good = candidates.filter(passesAll).length;
  return tile(found ? "Candidates" : "Structures", whole(candidates.length), `${good} pass every check`);
}

function tried() {
  const rejected = report.rejected?.count;
  if (!found || !isNumber(rejected)) return null;
  const all = rejected + candidates.length;
  return tile("Proposals", whole(all), `${share(candidates.length / all)} became candidates`);
}

function atTarget(target) {
  const known = candidates.map((one) => value(one, target.name)).filter(isNumber);
  if (!known.length) return null;
  return tile(target.label, `${number(d3.median(known), 2)} ${target.unit ?? ""}`, `median; from ${number(d3.min(known), 2)} to ${number(d3.max(known), 2)}`);
}

function stability() {
  const energies = candidates.map((one) => one.decomposition?.e_above_hull ?? value(one, "e_above_hull")).filter(isNumber);
  if (!energies.length) return null;
  const stable = energies.filter((energy) => energy <= 0).length;
  return tile("On or below the hull", `${stable} of ${energies.length}`, `lowest ${number(d3.min(energies), 3)} eV/atom`);
}

function effort() {
  const run = report.run ?? {};
  if (!isNumber(run.seconds)) return null;
  return tile("Time", seconds(run.seconds), run.potential ? `potential ${run.potential}` : "");
}

export function summary() {
  const tiles = [counts(), tried(), ...targets.slice(0, 2).map(atTarget), stability(), effort()].filter(Boolean);
  return candidates.length ? el("dl", { class: "strip", "aria-label": "In short" }, tiles) : null;
}
