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

// The values that meet each target; open sides end with the bins.
function shaded({ bands }, found, top) {
  const [first, last] = [found.before[0].x0, found.before.at(-1).x1];
  return bands.filter(({ low, high }) => isNumber(low) || isNumber(high)).map(({ low, high }) =>
    Plot.rect([0], { x1: low ?? first, x2: high ?? last, y1: 0, y2: top, fill: "var(--accent-soft)", ariaDescription: "Target" }),
  );
}

function named({ bands }) {
  if (!bands.some(({ of }) => of)) return "Shaded: the target.";
  return `Shaded: the target of each request, ${bands.map(({ of, text }) => `${of} ${text}`).join(", ")}; neither has to be met.`;
}

function drawn(found, data, width) {
  const { unit } = data;
  const top = Math.max(...[...found.before, ...found.after].map((bin) => bin.share), 0.01);
  return plot({
    width,
    height: 240,
    marginLeft: 44,
    marginBottom: 36,
    x: { label: unit || null, labelAnchor: "right", ticks: Math.max(4, Math.floor(width / 90)) },
    y: { label: "share", tickFormat: "%", grid: true, domain: [0, top * 1.05], ticks: 4 },
    marks: [
      ...shaded(data, found, top * 1.05),
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
    caption: `Grey: before. Colour: after. ${named(data)} ${data.text ? sentence(data.text) : `${plural(before, "proposal")}, ${plural(after, "candidate")}.`}`,
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
