// Two to four candidates side by side.

import { el } from "./dom.js";
import { formula, isNumber, number, shown, spaceGroup, words } from "./format.js";
import { icon } from "./icons.js";
import { inWords } from "./interval_plot.js";
import { candidate, columns, value } from "./report_data.js";
import { sketch } from "./sketch.js";
import { nearestTitle } from "./stability.js";
import { change, state, subscribe } from "./store.js";
import { outcome } from "./verdict_parts.js";

function line(label, cells) {
  const different = new Set(cells.map((cell) => cell?.textContent ?? String(cell))).size > 1;
  return el("tr", { class: different ? "different" : null }, el("th", { scope: "row" }, label), cells.map((cell) => el("td", {}, cell)));
}

function lattice({ lattice: l }) {
  return l ? `${[l.a, l.b, l.c].map((x) => number(x, 2)).join(" × ")} Å; ${[l.alpha, l.beta, l.gamma].map((x) => number(x, 0)).join("°, ")}°` : "–";
}

function names(all, key) {
  const found = new Map();
  for (const one of all) for (const each of one[key] ?? []) found.set(each.name, each.label ?? words(each.name));
  return [...found];
}

function verdictCell(one, name) {
  const verdict = (one.verdicts ?? []).find((each) => each.name === name);
  if (!verdict) return "–";
  const { name: kind, text } = outcome(verdict.passed);
  return el("span", { class: `verdict-${kind}` }, icon(kind), ` ${text}`);
}

function predictionCell(one, name) {
  const found = (one.predictions ?? []).find((each) => each.name === name);
  return found ? inWords(found) : "–";
}

function nearestCell(near) {
  if (!isNumber(near.similarity)) return formula(near.formula ?? near.name);
  return el("span", {}, el("code", { class: "smiles" }, near.name), ` similarity ${number(near.similarity, 2)}${near.itself ? ", itself known" : ""}`);
}

function group(title, columnsCount, rows) {
  return rows.length ? [el("tr", { class: "group" }, el("th", { colspan: columnsCount + 1, scope: "colgroup" }, title)), rows] : null;
}

function comparison(all) {
  const known = columns().filter(({ key }) => all.some((one) => value(one, key) !== null));
  return el(
    "table",
    { class: "plain comparison" },
    el("caption", { class: "visually-hidden" }, "Comparison of candidates; rows that differ are marked"),
    el("thead", {}, el("tr", {}, el("td"), all.map((one) => el("th", { scope: "col" }, el("div", { class: "picture" }, one.structure?.symbols ? sketch(one.structure, `Structure of ${one.formula}`, "xMinYMid meet") : null), formula(one.formula), el("code", {}, one.id))))),
    el(
      "tbody",
      {},
      all.some((one) => one.spacegroup) ? line("Space group", all.map((one) => spaceGroup(one.spacegroup))) : null,
      all.some((one) => one.lattice) ? line("Lattice", all.map(lattice)) : null,
      line(nearestTitle(all.find((one) => one.nearest)?.nearest), all.map(({ nearest: near }) => (near ? nearestCell(near) : "–"))),
      group("Values", all.length, known.map((column) => line(column.unit ? `${column.label} (${column.unit})` : column.label, all.map((one) => shown(value(one, column.key), column))))),
      group("Predictions", all.length, names(all, "predictions").map(([name, label]) => line(label, all.map((one) => predictionCell(one, name))))),
      group("Verdicts", all.length, names(all, "verdicts").map(([name, label]) => line(label, all.map((one) => verdictCell(one, name))))),
    ),
  );
}

export function openComparison() {
  const all = state.compared.map(candidate);
  const dialog = el(
    "dialog",
    { class: "compare", "aria-labelledby": "compare-title" },
    el("div", { class: "dialog-head" }, el("h2", { id: "compare-title" }, `${all.length} candidates side by side`), el("form", { method: "dialog" }, el("button", { class: "button" }, icon("close"), "Close"))),
    el("div", { class: "scroll-x", tabindex: 0, role: "region", "aria-label": "Comparison" }, comparison(all)),
  );
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

// The strip at the foot of the window while something is chosen for comparison.
export function compareStrip() {
  const text = el("span");
  const open = el("button", { type: "button", class: "button primary", id: "compare", on: { click: openComparison } }, icon("compare"), "Compare");
  const clear = el("button", { type: "button", class: "button", on: { click: () => change({ compared: [] }) } }, "Clear");
  const strip = el("div", { class: "compare-strip no-print", role: "region", "aria-label": "Comparison" }, text, open, clear);
  const draw = () => {
    const all = state.compared.map(candidate);
    strip.hidden = all.length === 0;
    open.disabled = all.length < 2;
    text.textContent = all.length < 2 ? `${all[0]?.formula ?? ""}: choose up to three more to compare` : all.map((one) => one.formula).join(", ");
  };
  subscribe(["compared"], draw);
  draw();
  return strip;
}
