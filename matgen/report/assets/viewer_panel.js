// The structure of one candidate in 3D with its controls; a drawing where the browser has no WebGL.

import { polyhedraCentres } from "./crystal.js";
import { el, freshId } from "./dom.js";
import { element, elementsOf } from "./element_colours.js";
import { VIEW } from "./projection.js";
import { icon } from "./icons.js";
import { drawScene, hexColour } from "./scene.js";
import { sketch } from "./sketch.js";
import { onTheme } from "./theme.js";
import { hasWebGL, library } from "./webgl.js";

const NO_WEBGL =
  "This browser shows no 3D: WebGL is off or not supported. The drawing below stands in its place; everything else on this page works.";

// One viewer serves all candidates: browsers limit the number of 3D canvases.
const shared = { viewer: null, stage: null, structure: null };

export const options = { repeat: 1, bonds: true, cell: true, polyhedra: "" };

// The direction of the drawings of the page: turned about c, then tilted towards the eye.
function facing() {
  const half = (degrees) => (degrees * Math.PI) / 360;
  const [tilt, turned] = [half(VIEW.tilt - 90), half(-VIEW.turn)];
  return [
    Math.sin(tilt) * Math.cos(turned), -Math.sin(tilt) * Math.sin(turned), Math.cos(tilt) * Math.sin(turned), Math.cos(tilt) * Math.cos(turned),
  ];
}

function face() {
  shared.viewer.zoomTo();
  const [x, y, z, zoom] = shared.viewer.getView();
  shared.viewer.setView([x, y, z, zoom, ...facing()]);
  shared.viewer.zoom(0.9);
}

function turn(event) {
  const step = { ArrowLeft: [-10, "vy"], ArrowRight: [10, "vy"], ArrowUp: [-10, "vx"], ArrowDown: [10, "vx"] }[event.key];
  const zoom = { "+": 1.15, "=": 1.15, "-": 1 / 1.15 }[event.key];
  if (step) shared.viewer.rotate(...step);
  else if (zoom) shared.viewer.zoom(zoom);
  else return;
  event.preventDefault();
  shared.viewer.render();
}

function makeStage() {
  shared.stage = el("div", {
    class: "stage-3d", tabindex: 0, role: "application", "aria-label": "Structure in 3D: arrow keys turn it, plus and minus zoom", on: { keydown: turn },
  });
}

function startViewer() {
  shared.viewer = library().createViewer(shared.stage, { antialias: true, disableFog: true });
  new ResizeObserver(() => shared.viewer.resize()).observe(shared.stage);
  onTheme(() => shared.structure && paint(shared.structure, false));
}

// Draw a structure; facing it anew or from where the reader has turned it to.
export function paint(structure, anew) {
  shared.structure = structure;
  if (!hasWebGL()) {
    shared.stage.replaceChildren(sketch(structure, "Structure"));
    return;
  }
  if (!shared.viewer) startViewer();
  shared.viewer.setBackgroundColor(hexColour(shared.stage, "backgroundColor"));
  drawScene(shared.viewer, structure, options);
  if (anew) face();
  shared.viewer.render();
}

function legend(structure) {
  const entry = (symbol) => {
    const swatch = el("span", { class: "swatch" });
    swatch.style.background = element(symbol).colour;
    return el("li", {}, swatch, symbol, el("span", { class: "visually-hidden" }, ` (${element(symbol).name})`));
  };
  return el("ul", { class: "legend", "aria-label": "Elements" }, elementsOf(structure).map(entry));
}

function choice(label, choices, current, act) {
  const id = freshId("choice");
  const list = el("select", { id, class: "button small" }, choices.map(([value, text]) => el("option", { value, selected: value === current }, text)));
  list.addEventListener("change", () => act(list.value));
  return el("label", { class: "field", for: id }, label, list);
}

function toggle(label, key, act) {
  const button = el("button", { type: "button", class: "button small", "aria-pressed": options[key] }, label);
  button.addEventListener("click", () => {
    options[key] = !options[key];
    button.setAttribute("aria-pressed", options[key]);
    act();
  });
  return button;
}

function controls(structure) {
  const again = (anew) => paint(shared.structure, anew);
  const crystal = Boolean(structure.cell);
  const centres = polyhedraCentres(structure);
  if (!centres.includes(options.polyhedra)) options.polyhedra = "";
  return el(
    "div",
    { class: "viewer-controls no-print", role: "group", "aria-label": "3D view" },
    crystal
      ? choice("Cells", [["1", "1"], ["2", "2 × 2 × 2"], ["3", "3 × 3 × 3"]], String(options.repeat), (value) => {
          options.repeat = Number(value);
          again(true);
        })
      : null,
    centres.length
      ? choice("Polyhedra", [["", "none"], ...centres.map((symbol) => [symbol, symbol])], options.polyhedra, (value) => {
          options.polyhedra = value;
          again(false);
        })
      : null,
    crystal ? toggle("Bonds", "bonds", () => again(false)) : null,
    crystal ? toggle("Cell", "cell", () => again(false)) : null,
    el("button", { type: "button", class: "button small", on: { click: () => again(true) } }, icon("reset"), "Reset view"),
  );
}

// The panel without a viewer: for paper.
export function stillPanel(one) {
  return el("div", { class: "viewer" }, el("div", { class: "stage-3d" }, sketch(one.structure, `Structure of ${one.formula}`)), legend(one.structure));
}

export function viewerPanel(one) {
  const { structure } = one;
  if (!structure?.symbols?.length) return el("p", { class: "quiet" }, "This run stored no structure for this candidate.");
  if (!shared.stage) makeStage();
  const panel = el("div", { class: "viewer" }, shared.stage, legend(structure));
  queueMicrotask(() => whenVisible(structure, panel));
  return panel;
}

// Asking for WebGL starts a process of the browser, and the library takes its time: both wait until the
// panel comes into view.
let watcher = null;

function whenVisible(structure, panel) {
  watcher?.disconnect();
  watcher = new IntersectionObserver(([entry]) => {
    if (!entry.isIntersecting) return;
    watcher.disconnect();
    paint(structure, true);
    if (hasWebGL()) panel.append(controls(structure));
    else panel.prepend(el("p", { class: "note" }, NO_WEBGL));
  });
  watcher.observe(shared.stage);
}
