// How the target property was spread before and after the search.

import { figure, plot } from "./figure.js";
import { isNumber, number, plural, sentence } from "./format.js";
import { report, targetOf } from "./report_data.js";

const LARGEST_BINS = 40;

// Shares of both sets in common bins, so that sets of different size compare.
export function bins({ before, after }) {
  const all = [...(before ?? []), ...(after ?? [])].filter(isNumber);
  const thresholds = d3.bin().thresholds(Math.min(LARGEST_BINS, 2 * Math.ceil(Math.sqrt(all.length))))(all);
  const edges = thresholds.map(({ x0, x1 }) => [x0, x1]);
  const shares = (values) =>
    edges.map(([x0, x1], i) => {
      const last = i === edges.length - 1;
      const count = values.filter((value) => value >= x0 && (value < x1 || (last && value <= x1))).length;
      return { x0, x1, count, share: values.length ? count / values.length : 0 };
    });
  return { before: shares((before ?? []).filter(isNumber)), after: shares((after ?? []).filter(isNumber)) };
}

function drawn(found, { low, high, unit }, width) {
  const top = Math.max(...[...found.before, ...found.after].map((bin) => bin.share), 0.01);
  return plot({
    width,
    height: 240,
    marginLeft: 44,
    marginBottom: 36,
    x: { label: unit || null, labelAnchor: "right", ticks: Math.max(4, Math.floor(width / 90)) },
    y: { label: "share", tickFormat: "%", grid: true, domain: [0, top * 1.05], ticks: 4 },
    marks: [
      isNumber(low) || isNumber(high)
        ? Plot.rect([0], { x1: low ?? found.before[0].x0, x2: high ?? found.before.at(-1).x1, y1: 0, y2: top * 1.05, fill: "var(--accent-soft)" })
        : null,
      Plot.rectY(found.before, { x1: "x0", x2: "x1", y: "share", fill: "var(--ink-3)", fillOpacity: 0.45, inset: 0.5 }),
      Plot.rectY(found.after.filter((bin) => bin.count), {
        x1: "x0", x2: "x1", y: "share", fill: "var(--accent)", fillOpacity: 0.6, stroke: "var(--accent)", inset: 0.5,
      }),
      Plot.ruleY([0], { stroke: "var(--line-2)" }),
    ],
  });
}

export function histogram(data) {
  const found = bins(data);
  if (!found.before.length) return null;
  const label = data.label ?? targetOf(data.name)?.label ?? data.name;
  const [before, after] = [(data.before ?? []).length, (data.after ?? []).length];
  return figure({
    title: `${label}, before and after`,
    label: `Histogram of ${label} of ${before} proposals and ${after} candidates`,
    draw: (width) => drawn(found, data, width),
    caption: `Grey: before. Colour: after. Shaded: the target. ${data.text ? sentence(data.text) : `${plural(before, "proposal")}, ${plural(after, "candidate")}.`}`,
    table: () => ({
      head: [`${label} (${data.unit ?? ""})`, "before", "after"],
      rows: found.before.map((bin, i) => [
        `${number(bin.x0)} to ${number(bin.x1)}`, String(bin.count), String(found.after[i].count),
      ]),
    }),
  });
}

export function histograms() {
  return (report.histograms ?? [report.histogram]).filter(Boolean).map(histogram).filter(Boolean);
}
