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

const PAPER_WIDTH = 440;
const EXPECTED_HEIGHT = 180; // px, until a figure is drawn
const waiting = new Set();
let paper = false;

// Draw all figures that have not come into view yet: before printing.
export function drawWaiting() {
  for (const act of [...waiting]) act();
}

// What is made inside `act` is drawn at once and for paper, not when it comes into view.
export function forPaper(act) {
  paper = true;
  try {
    return act();
  } finally {
    paper = false;
  }
}

// Draws when it comes into view, and again when its width changes.
function responsive(draw, label, role) {
  const box = el("div", { class: "drawing", role, "aria-label": label });
  if (paper) {
    box.append(draw(PAPER_WIDTH));
    return box;
  }
  box.style.minHeight = `${EXPECTED_HEIGHT}px`;
  let last = 0;
  const resized = new ResizeObserver(([entry]) => {
    const width = Math.floor(entry.contentRect.width);
    if (width < 40 || width === last) return;
    last = width;
    box.style.minHeight = "";
    box.replaceChildren(draw(width));
  });
  const start = () => {
    waiting.delete(begin);
    seen.disconnect();
    resized.observe(box);
  };
  const begin = () => {
    start();
    if (box.isConnected && box.clientWidth) box.replaceChildren(draw(box.clientWidth));
  };
  const seen = new IntersectionObserver(([entry]) => entry.isIntersecting && start(), { rootMargin: "400px" });
  waiting.add(begin);
  seen.observe(box);
  return box;
}

// draw: of a width in px to a node; table: without arguments to { head, rows }; interactive: marks in it can be chosen.
export function figure({ title, caption, label, draw, table, level = 3, interactive = false, wide = false }) {
  const id = freshId("figure");
  return el(
    "figure",
    { class: wide ? "figure figure-wide" : "figure", "aria-labelledby": id },
    el(`h${level}`, { id, class: "figure-title" }, title),
    responsive(draw, label, interactive ? "group" : "img"),
    caption ? el("figcaption", {}, caption) : null,
    table ? asTable(table, title) : null,
  );
}
