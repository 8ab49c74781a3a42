// The terms of the energy, each from where the one before it ended.

import { figure, plot } from "./figure.js";
import { isNumber, number, words } from "./format.js";

export function steps(terms) {
  let sum = 0;
  return terms
    .filter(({ value }) => isNumber(value))
    .map((term) => {
      const from = sum;
      sum += term.value;
      return { ...term, label: term.label ?? words(term.name), from, to: sum };
    });
}

function drawn(rows, width) {
  const total = { label: "Sum", from: 0, to: rows.at(-1).to, value: rows.at(-1).to, sum: true };
  const all = [...rows, total];
  const colour = (d) => (d.sum ? "var(--ink-2)" : d.value > 0 ? "var(--warm)" : "var(--accent)");
  return plot({
    width,
    height: 40 + 24 * all.length,
    marginLeft: Math.min(180, width * 0.36),
    marginRight: 52,
    marginTop: 4,
    marginBottom: 34,
    x: { label: "energy (dimensionless)", labelAnchor: "right", grid: true, ticks: Math.max(3, Math.floor(width / 100)) },
    y: { domain: all.map((d) => d.label), label: null, tickSize: 0, padding: 0.28 },
    marks: [
      Plot.barX(all, { y: "label", x1: "from", x2: "to", fill: colour, rx: 2, title: (d) => d.meaning ?? d.label }),
      Plot.text(all, {
        y: "label", x: (d) => Math.max(d.from, d.to), text: (d) => number(d.value, 2), textAnchor: "start", dx: 5,
        fill: "var(--ink)", fontVariant: "tabular-nums",
      }),
      Plot.ruleX([0], { stroke: "var(--ink-2)" }),
    ],
  });
}

export function waterfall(terms) {
  const rows = steps(terms);
  if (!rows.length) return null;
  const strong = rows.filter(({ value }) => Math.abs(value) >= 0.005);
  const left = rows.length - strong.length;
  const drawnRows = strong.length ? strong : rows;
  return figure({
    title: "Terms of the energy",
    label: `Sum ${number(rows.at(-1).to)}: ${rows.map((row) => `${row.label} ${number(row.value)}`).join(", ")}`,
    draw: (width) => drawn(drawnRows, width),
    caption:
      "Low is preferred. Each bar starts where the one above ends." +
      (left && strong.length ? ` ${left} ${left === 1 ? "term that is" : "terms that are"} zero ${left === 1 ? "is" : "are"} left out here.` : ""),
    table: () => ({
      head: ["term", "value", "meaning"],
      rows: [...rows.map((row) => [row.label, number(row.value, 3), row.meaning ?? ""]), ["Sum", number(rows.at(-1).to, 3), ""]],
    }),
    level: 4,
  });
}
