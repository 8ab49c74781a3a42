// A figure: title, drawing that follows its width, caption, and the same as a table.

import { el, freshId } from "./dom.js";

const FONT = "12px";

// Defaults of all plots: fonts and colours of the page.
export function plot(options) {
  const style = { background: "transparent", fontSize: FONT, fontFamily: "inherit", color: "var(--ink-2)", overflow: "visible" };
  return Plot.plot({ ...options, style: { ...style, ...options.style } });
}

export function dataTable({ head, rows }, caption) {
  return el(
    "div",
    { class: "scroll-x", tabindex: 0, role: "region", "aria-label": caption },
    el(
      "table",
      { class: "plain" },
      el("caption", { class: "visually-hidden" }, caption),
      el("thead", {}, el("tr", {}, head.map((text) => el("th", { scope: "col" }, text)))),
      el("tbody", {}, rows.map((row) => el("tr", {}, row.map((cell, i) => (i ? el("td", {}, cell) : el("th", { scope: "row" }, cell)))))),
    ),
  );
}

// The table is made when it is first opened.
export function asTable(table, title) {
  const details = el("details", { class: "as-table" }, el("summary", {}, "Show as a table"));
  details.addEventListener("toggle", () => {
    if (details.open && details.childElementCount === 1) details.append(dataTable(table(), title));
  });
  return details;
}

// Draws again when the width changes; on paper and before layout it takes the width it was given.
export function responsive(draw, label, { width = 560 } = {}) {
  const box = el("div", { class: "drawing", role: "img", "aria-label": label });
  let last = 0;
  const redraw = (wide) => {
    const rounded = Math.floor(wide);
    if (rounded < 40 || rounded === last) return;
    last = rounded;
    box.replaceChildren(draw(rounded));
  };
  redraw(width);
  new ResizeObserver(([entry]) => redraw(entry.contentRect.width)).observe(box);
  return box;
}

// { title, caption, label, draw(width), table() -> { head, rows }, level }
export function figure({ title, caption, label, draw, table, level = 3, interactive = false }) {
  const id = freshId("figure");
  const drawing = responsive(draw, label);
  if (interactive) {
    drawing.setAttribute("role", "group");
  }
  return el(
    "figure",
    { class: "figure", "aria-labelledby": id },
    el(`h${level}`, { id, class: "figure-title" }, title),
    drawing,
    caption ? el("figcaption", {}, caption) : null,
    table ? asTable(table, title) : null,
  );
}
