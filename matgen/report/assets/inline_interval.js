// Beside a number of the table: where it lies against the target.

import { svg } from "./dom.js";
import { isNumber } from "./format.js";
import { candidates, targetOf, value } from "./report_data.js";

const [WIDTH, HEIGHT] = [64, 14];
const extents = new Map();

function extent(target) {
  if (!extents.has(target.name)) {
    const all = [...candidates.map((one) => value(one, target.name)), target.low, target.high].filter(isNumber);
    const [low, high] = [Math.min(...all), Math.max(...all)];
    const margin = 0.15 * (high - low) || 1;
    extents.set(target.name, [low - margin, high + margin]);
  }
  return extents.get(target.name);
}

export function inlineInterval(one, key) {
  const target = targetOf(key);
  const found = value(one, key);
  if (!target || !isNumber(found) || !(isNumber(target.low) || isNumber(target.high))) return null;
  const [low, high] = extent(target);
  const at = (x) => (WIDTH * (x - low)) / (high - low);
  const [from, to] = [at(Math.max(target.low ?? low, low)), at(Math.min(target.high ?? high, high))];
  return svg(
    "svg",
    { class: "inline-interval", width: WIDTH, height: HEIGHT, viewBox: `0 0 ${WIDTH} ${HEIGHT}`, "aria-hidden": "true" },
    svg("line", { x1: 0, x2: WIDTH, y1: HEIGHT / 2, y2: HEIGHT / 2 }),
    svg("rect", { x: from, width: Math.max(2, to - from), y: 1, height: HEIGHT - 2, rx: 2 }),
    svg("circle", { cx: at(found), cy: HEIGHT / 2, r: 3.5 }),
  );
}
