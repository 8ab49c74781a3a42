// Energy above the hull, what a candidate would decompose into, and what a second potential says.

import { el } from "./dom.js";
import { formula, isNumber, number, share } from "./format.js";

function products(list) {
  return el(
    "ul",
    { class: "products" },
    list.map((product) =>
      el(
        "li",
        {},
        isNumber(product.amount) ? `${number(product.amount, product.amount % 1 ? 2 : 0)} ` : "",
        formula(product.formula),
        isNumber(product.fraction) ? el("span", { class: "quiet" }, ` ${share(product.fraction)} of the atoms`) : null,
        product.name ? el("span", { class: "quiet" }, ` ${product.name}`) : null,
      ),
    ),
  );
}

export function stability(one) {
  const { decomposition, second_opinion: second } = one;
  if (!decomposition && !second) return null;
  const above = decomposition?.e_above_hull;
  return el(
    "div",
    { class: "block" },
    el("h4", {}, "Stability"),
    isNumber(above) ? el("p", { class: "big" }, `${number(above, 3)} eV/atom`, el("span", { class: "quiet" }, above < 0 ? " below the hull" : above > 0 ? " above the hull" : " on the hull")) : null,
    decomposition?.text ? el("p", {}, decomposition.text) : null,
    decomposition?.products?.length ? [el("p", { class: "quiet" }, "Competing phases"), products(decomposition.products)] : null,
    second
      ? el("p", { class: "second" }, el("strong", {}, `Second opinion, ${second.potential}: `), isNumber(second.e_above_hull) ? `${number(second.e_above_hull, 3)} eV/atom. ` : "", second.text ?? "")
      : null,
  );
}

// Of a molecule the title tells of how many known ones it is the nearest, and `name` is a SMILES.
export function nearestTitle(near) {
  return near?.title ?? "Nearest known";
}

export function nearest({ nearest: near }) {
  if (!near) return null;
  const molecule = isNumber(near.similarity);
  return el(
    "div",
    { class: "block" },
    el("h4", {}, nearestTitle(near)),
    molecule
      ? el("p", { class: "big" }, el("code", { class: "smiles" }, near.name), el("span", { class: "quiet" }, near.itself ? " is itself known" : ` similarity ${number(near.similarity, 2)}`))
      : el("p", { class: "big" }, formula(near.formula ?? near.name), near.name && near.formula ? el("span", { class: "quiet" }, ` ${near.name}`) : null),
    near.text ? el("p", {}, near.text) : null,
    near.measure ? el("p", { class: "quiet" }, near.measure) : null,
    isNumber(near.distance) ? el("p", { class: "quiet" }, `Distance of the fingerprints ${number(near.distance, 3)}.`) : null,
  );
}

export function firstPrinciples({ first_principles: found }) {
  if (!found) return null;
  const gap = found.bandgap;
  return el(
    "div",
    { class: "block" },
    el("h4", {}, "First principles"),
    isNumber(gap) ? el("p", { class: "big" }, `${number(gap, 2)} eV`, el("span", { class: "quiet" }, " band gap")) : null,
    el("p", { class: "quiet" }, [found.code, found.functional].filter(Boolean).join(", ")),
    found.text ? el("p", {}, found.text) : null,
  );
}

export function phononVerdict({ phonons }) {
  if (!phonons || phonons.bands || phonons.dos) return null;
  return el(
    "div",
    { class: "block" },
    el("h4", {}, "Phonons"),
    isNumber(phonons.lowest_thz) ? el("p", { class: "big" }, `${number(phonons.lowest_thz, 2)} THz`, el("span", { class: "quiet" }, " lowest mode")) : null,
    phonons.text ? el("p", {}, phonons.text) : null,
  );
}
