// Candidates in a figure as points that can be chosen; the chosen one is larger.

import { svg } from "./dom.js";
import { roving } from "./roving.js";
import { select, state, subscribe } from "./store.js";

const LARGE = 8;
const SMALL = 5;

function show(circle, chosen) {
  circle.setAttribute("r", chosen ? LARGE : SMALL);
  circle.classList.toggle("chosen", chosen);
  circle.setAttribute("aria-pressed", chosen);
}

// rows: [{ id, formula, x, y }], in the data of the plot; scale: of the plot.
export function candidateMarks(drawing, rows) {
  const [x, y] = [drawing.scale("x"), drawing.scale("y")];
  const circles = [...rows]
    .sort((a, b) => a.x - b.x)
    .map((row) => {
      const place = { cx: x.apply(row.x), cy: y.apply(row.y), class: "candidate-mark", "aria-label": row.formula };
      const circle = svg("circle", place, svg("title", {}, row.formula));
      circle.dataset.id = row.id;
      return circle;
    });
  roving(circles, (i) => select(circles[i].dataset.id));
  circles.forEach((circle) => show(circle, circle.dataset.id === state.selected));
  const target = drawing.tagName.toLowerCase() === "svg" ? drawing : drawing.querySelector("svg:last-of-type");
  target.append(svg("g", { class: "candidate-marks" }, circles));
  return drawing;
}

// All marks of the page follow the choice.
export function followChoice() {
  subscribe(["selected"], () => {
    for (const circle of document.querySelectorAll(".candidate-mark")) show(circle, circle.dataset.id === state.selected);
  });
}
