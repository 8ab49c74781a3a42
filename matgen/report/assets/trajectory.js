// The path of the sampler to one candidate: frames that play in the viewer, with their energy.

import { el, freshId } from "./dom.js";
import { plot } from "./figure.js";
import { isNumber, number } from "./format.js";
import { icon } from "./icons.js";
import { paint } from "./viewer_panel.js";

const PER_SECOND = 8;

// Frames with the symbols of the last frame that named them.
export function wholeFrames(frames) {
  let symbols = [];
  return frames.map((frame) => {
    symbols = frame.symbols ?? symbols;
    const { positions: flat, cell } = frame;
    const positions = symbols.map((_, i) => flat.slice(3 * i, 3 * i + 3));
    return { ...frame, symbols, positions, cell: cell ? [cell.slice(0, 3), cell.slice(3, 6), cell.slice(6, 9)] : null };
  });
}

// The sampler's energy has no unit, that of a relaxation is in eV/atom: a line joins frames of one unit only.
export function alike(frames, at) {
  const rows = frames.map(({ energy, unit }, frame) => ({ frame, energy, unit: unit ?? "" })).filter(({ energy }) => isNumber(energy));
  const near = rows.findLast(({ frame }) => frame <= at) ?? rows[0];
  return rows.filter(({ unit }) => unit === near.unit);
}

function energyPlot(frames, at, width) {
  const rows = alike(frames, at);
  if (!rows.length) return "";
  const [{ unit }] = rows;
  return plot({
    width,
    height: 110,
    marginLeft: 44,
    marginBottom: 24,
    x: { label: "frame", ticks: 4, domain: [0, frames.length - 1] },
    y: { label: unit ? `energy (${unit})` : "energy", ticks: 3, grid: true },
    marks: [
      Plot.line(rows, { x: "frame", y: "energy", stroke: "var(--accent)" }),
      rows.length < 2 ? Plot.dot(rows, { x: "frame", y: "energy", fill: "var(--accent)" }) : null,
      Plot.ruleX([at], { stroke: "var(--ink-2)" }),
    ],
  });
}

export function trajectory(one) {
  const frames = wholeFrames(one.walk.frames);
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const id = freshId("frame");
  const slider = el("input", { type: "range", id, min: 0, max: frames.length - 1, value: frames.length - 1, step: 1 });
  const text = el("output", { for: id, class: "quiet" });
  const chart = el("div", { class: "drawing", "aria-hidden": "true" });
  const name = el("span", {}, "Play");
  const picture = el("span", {}, icon("play"));
  const button = el("button", { type: "button", class: "button" }, picture, name);
  let timer = null;
  const describe = (at) => {
    const frame = frames[at];
    const parts = [`${at + 1} of ${frames.length}`, frame.label ?? frame.stage, isNumber(frame.energy) ? `energy ${number(frame.energy, 2)} ${frame.unit ?? ""}`.trim() : null];
    text.textContent = parts.filter(Boolean).join(" · ");
    slider.setAttribute("aria-valuetext", text.textContent);
    chart.replaceChildren(energyPlot(frames, at, Math.max(240, chart.clientWidth || 360)));
  };
  const show = (at) => {
    slider.value = at;
    describe(at);
    paint(frames[at], false);
  };
  const stop = () => {
    clearInterval(timer);
    timer = null;
    name.textContent = "Play";
    picture.replaceChildren(icon("play"));
  };
  const play = () => {
    let at = Number(slider.value) >= frames.length - 1 ? 0 : Number(slider.value);
    name.textContent = "Pause";
    picture.replaceChildren(icon("pause"));
    show(at);
    timer = setInterval(() => {
      if (!button.isConnected || at >= frames.length - 1) return stop();
      at += 1;
      return show(at);
    }, 1000 / (still ? 1 : PER_SECOND));
  };
  button.addEventListener("click", () => (timer ? stop() : play()));
  slider.addEventListener("input", () => {
    stop();
    show(Number(slider.value));
  });
  describe(frames.length - 1);
  return el(
    "div",
    { class: "block trajectory" },
    el("h4", {}, "Path of the sampler"),
    el("p", { class: "quiet" }, one.walk.text ?? "From the first geometry to the candidate; the frames are shown in the 3D view."),
    el("div", { class: "player no-print" }, button, el("label", { class: "visually-hidden", for: id }, "Frame"), slider, text),
    chart,
  );
}
