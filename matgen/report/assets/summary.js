// The strip of a few figures under the heading.

import { el } from "./dom.js";
import { isNumber, number, seconds, share, whole } from "./format.js";
import { askedProperties, candidates, found, passesAll, report, value } from "./report_data.js";
import { atStart } from "./sankey.js";

const IMPLAUSIBLE = 0.3; // eV/atom below the hull from which the potential is in error: matgen.hull.hull.IMPLAUSIBLE

function tile(label, figure, more) {
  return el("div", { class: "tile" }, el("dt", {}, label), el("dd", {}, el("span", { class: "figure-large" }, figure), el("span", { class: "more" }, more ?? "")));
}

// The page may hold fewer than were found.
function nCandidates() {
  return report.found ?? candidates.length;
}

function counts() {
  const good = candidates.filter(passesAll).length;
  return tile(found ? "Candidates" : "Structures", whole(nCandidates()), `${good} pass every check`);
}

function tried() {
  const all = atStart(report.stages ?? []);
  if (!found || !all) return null;
  return tile("Proposals", whole(all), `${share(nCandidates() / all)} became candidates`);
}

function atTarget(target) {
  const known = candidates.map((one) => value(one, target.name)).filter(isNumber);
  if (!known.length) return null;
  return tile(target.label, `${number(d3.median(known), 2)} ${target.unit ?? ""}`, `median; from ${number(d3.min(known), 2)} to ${number(d3.max(known), 2)}`);
}

function stability() {
  const energies = candidates.map((one) => one.decomposition?.e_above_hull ?? value(one, "e_above_hull")).filter(isNumber);
  if (!energies.length) return null;
  const plausible = energies.filter((energy) => energy >= -IMPLAUSIBLE);
  const stable = plausible.filter((energy) => energy <= 0).length;
  const implausible = energies.length - plausible.length;
  const more = [
    plausible.length ? `lowest ${number(d3.min(plausible), 3)} eV/atom` : null,
    implausible ? `${implausible} implausible, more than ${IMPLAUSIBLE} eV/atom below it` : null,
  ];
  return tile("On or below the hull", `${stable} of ${energies.length}`, more.filter(Boolean).join("; "));
}

function effort() {
  const run = report.run ?? {};
  if (!isNumber(run.seconds)) return null;
  return tile("Time", seconds(run.seconds), run.potential ? `potential ${run.potential}` : "");
}

export function summary() {
  const tiles = [counts(), tried(), ...askedProperties.slice(0, 2).map(atTarget), stability(), effort()].filter(Boolean);
  return candidates.length ? el("dl", { class: "strip", "aria-label": "In short" }, tiles) : null;
}
