// Predictions against the target: value, aleatoric spread (thick), total spread (thin), target band.

import { el } from "./dom.js";
import { figure, plot } from "./figure.js";
import { isNumber, number, share } from "./format.js";

const baseName = (name) => name.replace(/^evaluator_/, "");

export function totalSpread({ aleatoric, epistemic }) {
  return Math.hypot(aleatoric ?? 0, epistemic ?? 0);
}

// What was calculated has none.
export function hasSpread({ aleatoric, epistemic }) {
  return isNumber(aleatoric) || isNumber(epistemic);
}

// Predictions of one quantity stand on one axis.
export function groups(predictions) {
  const found = new Map();
  for (const prediction of predictions.filter(({ value }) => isNumber(value))) {
    const key = `${baseName(prediction.name)} ${prediction.unit}`;
    found.set(key, [...(found.get(key) ?? []), prediction]);
  }
  return [...found.values()];
}

function bounds(group) {
  const ends = group.flatMap((each) => [each.value - totalSpread(each), each.value + totalSpread(each), each.low, each.high]);
  const known = ends.filter(isNumber);
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const margin = 0.08 * (high - low) || 0.1;
  return [low - margin, high + margin];
}

function source(prediction) {
  return prediction.source ?? (prediction.name.startsWith("evaluator_") ? "evaluator" : "predictor");
}

function drawn(group, width) {
  const [low, high] = bounds(group);
  const target = group.find((each) => isNumber(each.low) || isNumber(each.high));
  const rows = group.map((each) => ({ ...each, source: source(each), total: totalSpread(each) }));
  return plot({
    width,
    height: 46 + 30 * rows.length,
    marginLeft: 74,
    marginRight: 14,
    marginTop: 6,
    marginBottom: 34,
    x: { domain: [low, high], label: group[0].unit || null, ticks: Math.max(3, Math.floor(width / 90)), labelAnchor: "right" },
    y: { domain: rows.map((each) => each.source), label: null, tickSize: 0 },
    marks: [
      target
        ? Plot.rect([target], { x1: Math.max(target.low ?? low, low), x2: Math.min(target.high ?? high, high), fill: "var(--accent-soft)" })
        : null,
      Plot.ruleY(rows, { y: "source", x1: (d) => d.value - d.total, x2: (d) => d.value + d.total, stroke: "var(--ink-2)" }),
      Plot.ruleY(rows, {
        y: "source", x1: (d) => d.value - (d.aleatoric ?? 0), x2: (d) => d.value + (d.aleatoric ?? 0),
        stroke: "var(--accent)", strokeWidth: 5, strokeOpacity: 0.55, strokeLinecap: "round",
      }),
      Plot.dot(rows, { y: "source", x: "value", r: 5, fill: "var(--accent)", stroke: "var(--surface)", strokeWidth: 1.5 }),
    ],
  });
}

export function inWords(each) {
  const spreads = [each.aleatoric, each.epistemic].filter(isNumber).map((spread) => `± ${number(spread, 2)}`);
  const chance = isNumber(each.probability) ? `, in the target with ${share(each.probability)}` : "";
  const digits = Math.abs(each.value) < 0.1 ? 3 : 2;
  return [number(each.value, digits), ...spreads, each.unit].filter(Boolean).join(" ") + chance;
}

function title(group) {
  return group[0].label ?? group[0].name;
}

export function predictionTable(predictions) {
  return {
    head: ["property", "source", "value", "aleatoric", "epistemic", "total", "target", "probability"],
    rows: groups(predictions).flat().map((each) => [
      each.label ?? each.name,
      source(each),
      `${number(each.value, 3)} ${each.unit}`,
      number(each.aleatoric, 3),
      number(each.epistemic, 3),
      hasSpread(each) ? number(totalSpread(each), 3) : "–",
      isNumber(each.low) || isNumber(each.high) ? `${number(each.low, 2)} to ${number(each.high, 2)}` : "none",
      share(each.probability),
    ]),
  };
}

export function intervalPlots(predictions) {
  return groups(predictions).map((group) =>
    figure({
      title: title(group),
      label: group.map((each) => `${source(each)}: ${inWords(each)}`).join("; "),
      draw: (width) => drawn(group, width),
      caption: group.map((each) => el("div", {}, `${source(each)} ${inWords(each)}${each.text ? `; ${each.text}` : ""}`)),
      level: 5,
    }),
  );
}
