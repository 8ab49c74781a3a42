// Search, filters, columns, view and download.

import { csv, download } from "./csv.js";
import { el } from "./dom.js";
import { isNumber, number, words } from "./format.js";
import { icon } from "./icons.js";
import { popover } from "./popover.js";
import { candidate, candidates, columns, report, value } from "./report_data.js";
import { columnTitle, shownColumns } from "./shown_columns.js";
import { change, state, subscribe } from "./store.js";

function searchField() {
  const input = el("input", {
    type: "search", id: "search", placeholder: "Search formula or name", autocomplete: "off", spellcheck: "false", value: state.query,
    on: { input: (event) => change({ query: event.target.value.trim(), page: 0 }) },
  });
  return el("div", { class: "search" }, icon("search"), el("label", { class: "visually-hidden", for: "search" }, "Search candidates"), input);
}

function verdictNames() {
  const names = new Map();
  for (const one of candidates) for (const each of one.verdicts ?? []) names.set(each.name, each.label ?? words(each.name));
  return [...names];
}

function verdictField() {
  const option = (wanted, text) => el("option", { value: wanted, selected: state.verdict === wanted }, text);
  const group = (outcome, text) =>
    el("optgroup", { label: text }, verdictNames().map(([name, label]) => option(`${outcome}: ${name}`, `${label}: ${text}`)));
  return el(
    "label",
    { class: "field" },
    el("span", { class: "visually-hidden" }, "Filter by verdict"),
    el(
      "select",
      { id: "verdict-filter", class: "button", on: { change: (event) => change({ verdict: event.target.value, page: 0 }) } },
      option("", "All verdicts"),
      option("all passed", "All checks passed"),
      option("some failed", "Some check failed"),
      verdictNames().length ? [group("failed", "failed"), group("passed", "passed"), group("open", "not assessed")] : null,
    ),
  );
}

function rangeRow(column) {
  const found = candidates.map((one) => value(one, column.key)).filter(isNumber);
  const [low, high] = state.ranges[column.key] ?? [null, null];
  const field = (end, at, hint) =>
    el("input", {
      type: "number", step: "any", value: at ?? "", placeholder: number(hint, column.digits ?? 2).replace("−", "-"),
      "aria-label": `${columnTitle(column)}, ${end}`, "data-range": `${column.key} ${end}`,
      on: {
        input: (event) => {
          const ends = [...(state.ranges[column.key] ?? [null, null])];
          ends[end === "least" ? 0 : 1] = event.target.value === "" ? null : Number(event.target.value);
          const rest = Object.fromEntries(Object.entries(state.ranges).filter(([key]) => key !== column.key));
          change({ ranges: ends.every((x) => x === null) ? rest : { ...rest, [column.key]: ends }, page: 0 });
        },
      },
    });
  return el("div", { class: "range" }, el("span", {}, columnTitle(column)), field("least", low, d3.min(found)), field("most", high, d3.max(found)));
}

function rangePanel() {
  const numeric = columns().filter(({ key }) => candidates.some((one) => isNumber(value(one, key))));
  return el(
    "div",
    { class: "ranges" },
    el("p", { class: "panel-title" }, "Show values between"),
    numeric.map(rangeRow),
    el("button", { type: "button", class: "button", on: { click: (event) => {
      change({ ranges: {}, page: 0 });
      event.target.closest(".ranges").querySelectorAll("input").forEach((input) => (input.value = ""));
    } } }, "Clear"),
  );
}

function columnPanel() {
  const box = (column) => {
    const input = el("input", { type: "checkbox", checked: shownColumns().includes(column), value: column.key });
    input.addEventListener("change", () => {
      const now = shownColumns().map(({ key }) => key);
      change({ columns: input.checked ? [...now, column.key] : now.filter((key) => key !== column.key) });
    });
    return el("label", { class: "check", title: column.help ?? null }, input, columnTitle(column));
  };
  return el("div", { class: "column-list" }, el("p", { class: "panel-title" }, "Columns of the table"), columns().map(box));
}

function viewButtons() {
  const button = (view, label) => {
    const node = el("button", { type: "button", class: "segment", on: { click: () => change({ view }) } }, icon(view), label);
    const show = () => node.setAttribute("aria-pressed", state.view === view);
    subscribe(["view"], show);
    show();
    return node;
  };
  return el("div", { class: "segments", role: "group", "aria-label": "View" }, button("table", "Table"), button("cards", "Cards"));
}

function save() {
  const name = `${String(report.title ?? "report").replace(/[^\w.-]+/g, "_")}.csv`;
  download(csv(state.shown.map(candidate), columns()), name, "text/csv");
}

export function toolbar() {
  return el(
    "div",
    { class: "toolbar no-print", role: "group", "aria-label": "Filter and order the candidates" },
    searchField(),
    verdictField(),
    popover({ label: "Ranges", picture: "ranges", content: rangePanel }),
    popover({ label: "Columns", picture: "columns", content: columnPanel }),
    el("span", { class: "grow" }),
    viewButtons(),
    el("button", { type: "button", class: "button", id: "download-csv", on: { click: save } }, icon("download"), "CSV"),
  );
}
