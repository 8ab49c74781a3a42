// The candidates as cards with a drawing each, made when the card comes into view.

import { el } from "./dom.js";
import { formula, shown, spaceGroup } from "./format.js";
import { askedProperties, candidate, value } from "./report_data.js";
import { shownColumns } from "./shown_columns.js";
import { sketch } from "./sketch.js";
import { state, subscribe, toggleCompared } from "./store.js";
import { badge } from "./verdict_parts.js";

const CARDS = 100;
const FIGURES = 4;

function figures(one) {
  const wanted = askedProperties.map(({ name }) => name);
  const columns = shownColumns();
  const first = [...columns.filter(({ key }) => wanted.includes(key)), ...columns.filter(({ key }) => !wanted.includes(key))];
  const known = first.filter(({ key }) => value(one, key) !== null).slice(0, FIGURES);
  return known.map((column) => [el("dt", {}, column.label), el("dd", {}, `${shown(value(one, column.key), column)} ${column.unit ?? ""}`)]);
}

function card(one, watcher) {
  const picture = el("div", { class: "picture" });
  if (one.structure?.symbols) {
    picture.draw = () => picture.append(sketch(one.structure, `Structure of ${one.formula}`));
    watcher.observe(picture);
  }
  const box = el("input", { type: "checkbox", checked: state.compared.includes(one.id) });
  box.addEventListener("change", () => toggleCompared(one.id));
  return el(
    "li",
    { class: "card", "data-id": one.id },
    picture,
    el("h3", {}, el("a", { href: `#${encodeURIComponent(one.id)}`, class: "card-link" }, formula(one.formula ?? one.id))),
    el("p", { class: "card-line" }, one.spacegroup ? spaceGroup(one.spacegroup) : null, badge(one)),
    el("dl", {}, figures(one)),
    el("label", { class: "check no-print" }, box, "Compare"),
  );
}

export function candidateCards() {
  const list = el("ul", { class: "cards" });
  const more = el("p", { class: "quiet" });
  const watcher = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries)
      if (isIntersecting) {
        watcher.unobserve(target);
        target.draw();
      }
  }, { rootMargin: "200px" });
  const draw = () => {
    watcher.disconnect();
    const rows = state.shown.slice(0, CARDS).map(candidate);
    list.replaceChildren(...rows.map((one) => card(one, watcher)));
    more.textContent = state.shown.length > CARDS ? `The first ${CARDS} of ${state.shown.length}; filter, or use the table, to see others.` : "";
    mark();
  };
  const mark = () => {
    for (const node of list.children) node.classList.toggle("selected", node.dataset.id === state.selected);
  };
  list.addEventListener("click", (event) => {
    if (!event.target.closest("input, label, a")) event.target.closest(".card")?.querySelector(".card-link").click();
  });
  subscribe(["shown", "columns"], () => state.view === "cards" && draw());
  subscribe(["view"], () => state.view === "cards" && draw());
  subscribe(["selected"], mark);
  subscribe(["compared"], () => {
    for (const node of list.children) node.querySelector("input").checked = state.compared.includes(node.dataset.id);
  });
  if (state.view === "cards") draw();
  return el("div", {}, list, more);
}
