// Figures of a whole set with their intervals.

import { figure, plot } from "./figure.js";
import { isNumber, number, words } from "./format.js";

const isShare = ({ value }) => isNumber(value) && value >= 0 && value <= 1;

function drawn(rows, width) {
  return plot({
    width,
    height: 44 + 28 * rows.length,
    marginLeft: Math.min(210, width * 0.42),
    marginRight: 52,
    x: { domain: [0, 1], tickFormat: "%", grid: true, ticks: width < 480 ? 3 : 6, label: null },
    y: { domain: rows.map((d) => d.label), label: null, tickSize: 0 },
    marks: [
      Plot.ruleY(rows, { y: "label", x1: (d) => d.low ?? d.value, x2: (d) => d.high ?? d.value, stroke: "var(--ink-2)", strokeWidth: 1.5 }),
      Plot.dot(rows, { y: "label", x: "value", r: 4.5, fill: "var(--accent)" }),
      Plot.text(rows, {
        y: "label", frameAnchor: "right", dx: 46, textAnchor: "end", text: (d) => `${number(100 * d.value, 1)} %`, fill: "var(--ink)",
      }),
    ],
  });
}

function cells(metric) {
  const interval = isNumber(metric.low) && isNumber(metric.high) ? `${number(metric.low, 3)} to ${number(metric.high, 3)}` : "";
  return [metric.label, number(metric.value, 3), interval, metric.of === undefined ? "" : String(metric.of), metric.text ?? ""];
}

function labelled(metrics) {
  return metrics.map((metric) => ({ ...metric, label: metric.label ?? words(metric.name) }));
}

export function metricsTable(metrics) {
  return { head: ["figure", "value", "interval", "of", "meaning"], rows: labelled(metrics).map(cells) };
}

export function metricsFigure(metrics) {
  const shares = labelled(metrics).filter(isShare);
  if (!shares.length) return null;
  return figure({
    title: "Shares",
    label: shares.map((d) => `${d.label} ${number(100 * d.value, 1)} percent`).join(", "),
    draw: (width) => drawn(shares, width),
    caption: "Dots are shares of the set; lines are their intervals.",
  });
}
