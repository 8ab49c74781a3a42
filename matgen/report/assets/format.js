// Numbers, formulas and symbols of space groups as people write them.

import { el } from "./dom.js";

const MONTHS = [
  "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December",
];

export function isNumber(value) {
  return typeof value === "number" && Number.isFinite(value);
}

export function number(value, digits = 2) {
  if (!isNumber(value)) return "–";
  const text = Math.abs(value).toFixed(digits);
  return value < 0 && Number(text) !== 0 ? `−${text}` : text;
}

// As many digits as a column asks for, and what is no number as it stands.
export function shown(value, column) {
  if (value === null || value === undefined || value === "") return "–";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (!isNumber(value)) return String(value);
  return number(value, column?.digits ?? (Number.isInteger(value) ? 0 : 2));
}

export function share(value) {
  return isNumber(value) ? `${Math.round(100 * value)} %` : "–";
}

// 10,000
export function whole(count) {
  return String(count).replace(/\B(?=(\d{3})+$)/g, ",");
}

export function plural(count, one, many = `${one}s`) {
  return `${whole(count)} ${count === 1 ? one : many}`;
}

export function seconds(value) {
  if (!isNumber(value)) return "–";
  if (value < 120) return `${Math.round(value)} s`;
  if (value < 7200) return `${Math.round(value / 60)} min`;
  return `${number(value / 3600, 1)} h`;
}

export function date(text) {
  const time = new Date(text);
  if (Number.isNaN(time.getTime())) return String(text);
  return `${time.getDate()} ${MONTHS[time.getMonth()]} ${time.getFullYear()}`;
}

export function words(name) {
  const text = String(name).replaceAll("_", " ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}

// A text as a sentence: a capital letter first, a full stop last.
export function sentence(text) {
  const trimmed = String(text).trim();
  return trimmed.charAt(0).toUpperCase() + trimmed.slice(1) + (/[.!?]$/.test(trimmed) ? "" : ".");
}

const LOWERED = "₀₁₂₃₄₅₆₇₈₉";

// Fe₂(SO₄)₃ as plain text, for drawings.
export function formulaText(text) {
  return String(text).replace(/(?<=[A-Za-z)\]])\d+/g, (digits) => [...digits].map((digit) => LOWERED[digit]).join(""));
}

// Fe2(SO4)3 with its digits lowered; numbers that begin a formula (2H2O) stay.
export function formula(text) {
  const parts = String(text ?? "").split(/(?<=[A-Za-z)\]])(\d+(?:\.\d+)?)/);
  return el("span", { class: "formula" }, parts.map((part, i) => (i % 2 ? el("sub", {}, part) : part)));
}

// P6_3/mmc and Fm-3m: screw axes lowered, rotoinversions overlined.
export function spaceGroup(group) {
  if (!group?.symbol) return el("span", {}, "–");
  const parts = group.symbol.split(/(_\d|-\d)/).map((part) => {
    if (/^_\d$/.test(part)) return el("sub", {}, part.slice(1));
    if (/^-\d$/.test(part)) return el("span", { class: "overline" }, part.slice(1));
    return part;
  });
  return el("span", { class: "symbol", role: "img", "aria-label": group.symbol }, parts);
}
