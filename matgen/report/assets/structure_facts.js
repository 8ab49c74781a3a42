// Lattice, atoms and file of a candidate.

import { download } from "./csv.js";
import { announce, el } from "./dom.js";
import { dataTable } from "./figure.js";
import { isNumber, number, plural } from "./format.js";
import { icon } from "./icons.js";
import { fractional } from "./vectors.js";

export function latticeFacts(one) {
  const { lattice } = one;
  if (!lattice) return null;
  const fact = (label, found, digits, unit) => (isNumber(found) ? [el("dt", {}, label), el("dd", {}, `${number(found, digits)}${unit}`)] : null);
  return el(
    "dl",
    { class: "facts", "aria-label": "Lattice" },
    fact("a", lattice.a, 3, " Å"), fact("b", lattice.b, 3, " Å"), fact("c", lattice.c, 3, " Å"),
    fact("α", lattice.alpha, 1, "°"), fact("β", lattice.beta, 1, "°"), fact("γ", lattice.gamma, 1, "°"),
    fact("Volume", lattice.volume, 1, " Å³"), fact("Density", lattice.density, 2, " g/cm³"),
  );
}

function atomTable({ cell, symbols, positions }) {
  const rows = positions.map((position, i) => {
    const place = cell ? fractional(position, cell) : position;
    return [symbols[i], ...place.map((x) => number(x, cell ? 4 : 3))];
  });
  return { head: cell ? ["atom", "x/a", "y/b", "z/c"] : ["atom", "x (Å)", "y (Å)", "z (Å)"], rows };
}

export function atoms({ structure }) {
  if (!structure?.symbols) return null;
  const details = el("details", { class: "as-table" }, el("summary", {}, `${plural(structure.symbols.length, "atom")} as a table`));
  details.addEventListener("toggle", () => {
    if (details.open && details.childElementCount === 1) details.append(dataTable(atomTable(structure), "Atoms"));
  });
  return details;
}

// Where the clipboard is closed to pages from disk, the text is put into view and marked.
async function copy(text, place) {
  try {
    await navigator.clipboard.writeText(text);
    announce("Copied");
    place.replaceChildren("Copied.");
  } catch {
    const field = el("textarea", { readonly: true, rows: 8, "aria-label": "Structure file" });
    field.value = text;
    place.replaceChildren("The browser does not let this page use the clipboard; here is the text, marked:", field);
    field.focus();
    field.select();
  }
}

export function fileButtons({ structure, id }) {
  if (!structure?.text) return null;
  const kind = (structure.format ?? "cif").toUpperCase();
  const place = el("div", { class: "copied quiet", role: "status" });
  return el(
    "div",
    { class: "file no-print" },
    el("button", { type: "button", class: "button small", on: { click: () => copy(structure.text, place) } }, icon("copy"), `Copy ${kind}`),
    el("button", { type: "button", class: "button small", on: {
      click: () => download(structure.text, `${id.replace(/[^\w.-]+/g, "_")}.${kind.toLowerCase()}`, "text/plain"),
    } }, icon("download"), `Download ${kind}`),
    place,
  );
}
