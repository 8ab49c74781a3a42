// The elastic tensor in Voigt's notation, tinted by size.

import { el } from "./dom.js";
import { isNumber, number } from "./format.js";

export function elasticTable({ tensor_gpa: tensor, bulk, shear, born_stable: stable, text }) {
  const top = Math.max(...(tensor ?? []).flat().map(Math.abs), 1);
  const tint = (value) => `background: color-mix(in oklab, var(--accent) ${Math.round((45 * Math.abs(value)) / top)}%, transparent)`;
  const moduli = [
    isNumber(bulk) ? `bulk modulus ${number(bulk, 0)} GPa` : null,
    isNumber(shear) ? `shear modulus ${number(shear, 0)} GPa` : null,
    stable === true ? "mechanically stable (Born)" : stable === false ? "mechanically unstable (Born)" : null,
  ].filter(Boolean);
  const cell = (value) => {
    const node = el("td", {}, number(value, 0));
    node.style.cssText = isNumber(value) ? tint(value) : "";
    return node;
  };
  return el(
    "div",
    { class: "block" },
    el("h4", {}, "Elastic tensor"),
    moduli.length ? el("p", {}, `${moduli.join(", ")}.`) : null,
    text ? el("p", { class: "quiet" }, text) : null,
    tensor
      ? el(
          "div",
          { class: "scroll-x", tabindex: 0, role: "region", "aria-label": "Elastic tensor" },
          el(
            "table",
            { class: "plain tensor" },
            el("caption", {}, "C in GPa, Voigt's notation"),
            el("thead", {}, el("tr", {}, el("td"), tensor.map((_, j) => el("th", { scope: "col" }, String(j + 1))))),
            el("tbody", {}, tensor.map((row, i) => el("tr", {}, el("th", { scope: "row" }, String(i + 1)), row.map(cell)))),
          ),
        )
      : null,
  );
}
