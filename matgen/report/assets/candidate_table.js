// The candidates as a table that is sorted by its heads.

import { announce, el } from "./dom.js";
import { formula, isNumber, shown, spaceGroup, whole } from "./format.js";
import { icon } from "./icons.js";
import { inlineInterval } from "./inline_interval.js";
import { candidate, candidates, value } from "./report_data.js";
import { shownColumns } from "./shown_columns.js";
import { change, select, state, subscribe, toggleCompared } from "./store.js";
import { badge } from "./verdict_parts.js";

const ROWS = 100;

const FIXED = [
  { key: "rank", label: "Rank", numeric: true, cell: (one) => el("td", { class: "number" }, one.rank === undefined ? "–" : String(one.rank)) },
  { key: "formula", label: "Formula", cell: nameCell },
  { key: "spacegroup", label: "Space group", cell: (one) => el("td", {}, spaceGroup(one.spacegroup)), when: (all) => all.some((one) => one.spacegroup) },
  { key: "accepted", label: "Checks", cell: (one) => el("td", {}, badge(one)) },
];

function nameCell(one) {
  const link = el("a", { href: `#${encodeURIComponent(one.id)}`, class: "row-link", "data-id": one.id }, formula(one.formula ?? one.name ?? one.id));
  return el("th", { scope: "row" }, link);
}

function compareCell(one) {
  const name = one.formula ?? one.id;
  const box = el("input", { type: "checkbox", "aria-label": `Compare ${name}`, checked: state.compared.includes(one.id) });
  box.addEventListener("change", () => toggleCompared(one.id));
  return el("td", { class: "compare-cell no-print" }, box);
}

function valueCell(one, column) {
  const found = value(one, column.key);
  const numeric = column.numeric ?? isNumber(found);
  return el("td", numeric ? { class: "number" } : { class: "text", title: shown(found, column) }, inlineInterval(one, column.key), el("span", {}, shown(found, column)));
}

function headCell({ key, label, help, unit, numeric }) {
  const { sort } = state;
  const direction = sort.key === key ? (sort.descending ? "descending" : "ascending") : "none";
  const act = () => {
    change({ sort: { key, descending: sort.key === key && !sort.descending }, page: 0 });
    document.querySelector(`[data-sort="${CSS.escape(key)}"]`)?.focus();
    announce(`Sorted by ${label}, ${state.sort.descending ? "descending" : "ascending"}`);
  };
  return el(
    "th",
    { scope: "col", "aria-sort": direction, class: numeric ? "number" : null },
    el("button", { type: "button", class: "sort", "data-sort": key, title: help ?? null, on: { click: act } }, el("span", {}, label, unit ? el("small", {}, unit) : null), icon(direction === "descending" ? "down" : "up")),
  );
}

function row(one, columns, fixed) {
  const node = el(
    "tr",
    { "data-id": one.id, class: one.id === state.selected ? "selected" : null },
    compareCell(one),
    fixed.map(({ cell }) => cell(one)),
    columns.map((column) => valueCell(one, column)),
  );
  node.addEventListener("click", (event) => {
    if (!event.target.closest("input, a")) select(one.id);
  });
  return node;
}

// The arrow keys move from one candidate to the next and choose it.
function arrows(event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const link = event.target.closest(".row-link");
  if (!step || !link) return;
  const links = [...event.currentTarget.querySelectorAll(".row-link")];
  const next = links[links.indexOf(link) + step];
  if (!next) return;
  event.preventDefault();
  next.focus();
  select(next.dataset.id);
}

function pages(draw) {
  const last = Math.ceil(state.shown.length / ROWS) - 1;
  if (last < 1) return null;
  const go = (page) => () => {
    change({ page });
    draw();
  };
  const [from, to] = [state.page * ROWS + 1, Math.min((state.page + 1) * ROWS, state.shown.length)];
  return el(
    "nav",
    { class: "pages no-print", "aria-label": "Pages of the table" },
    el("button", { type: "button", class: "button", disabled: state.page === 0, on: { click: go(state.page - 1) } }, icon("previous"), "Earlier"),
    el("span", {}, `${from} to ${to} of ${whole(state.shown.length)}`),
    el("button", { type: "button", class: "button", disabled: state.page === last, on: { click: go(state.page + 1) } }, "Later", icon("next")),
  );
}

export function candidateTable() {
  const box = el("div", { class: "candidate-table" });
  const draw = () => {
    const columns = shownColumns();
    const fixed = FIXED.filter(({ when }) => !when || when(candidates));
    const rows = state.shown.slice(state.page * ROWS, (state.page + 1) * ROWS).map(candidate);
    const body = el("tbody", { on: { keydown: arrows } }, rows.map((one) => row(one, columns, fixed)));
    const heads = [...fixed, ...columns];
    const scrolled = box.querySelector(".scroll")?.scrollTop ?? 0;
    box.replaceChildren(
      el(
        "div",
        { class: "scroll", tabindex: 0, role: "region", "aria-label": "Table of candidates" },
        el(
          "table",
          { class: "candidates" },
          el("caption", { class: "visually-hidden" }, "Candidates; the heads of the columns sort"),
          el("thead", {}, el("tr", {}, el("th", { scope: "col", class: "compare-cell no-print" }, el("span", { class: "visually-hidden" }, "Compare")), heads.map(headCell))),
          body,
        ),
      ),
      pages(draw) ?? "",
    );
    box.querySelector(".scroll").scrollTop = scrolled;
    mark(box);
  };
  subscribe(["shown", "columns", "page"], draw);
  subscribe(["selected"], () => mark(box));
  subscribe(["compared"], () => {
    for (const line of box.querySelectorAll("tbody tr")) line.querySelector("input").checked = state.compared.includes(line.dataset.id);
  });
  draw();
  return box;
}

function mark(box) {
  for (const line of box.querySelectorAll("tbody tr")) {
    const chosen = line.dataset.id === state.selected;
    line.classList.toggle("selected", chosen);
    const link = line.querySelector(".row-link");
    if (chosen) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}
