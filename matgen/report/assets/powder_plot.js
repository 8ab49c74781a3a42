// The powder pattern as sticks.

import { figure, plot } from "./figure.js";
import { number } from "./format.js";

export function peaks({ two_theta: angles, intensity, hkl }) {
  return angles.map((angle, i) => ({ angle, intensity: intensity[i], hkl: hkl?.[i] ?? "" }));
}

function drawn(rows, width) {
  const strongest = [...rows].sort((a, b) => b.intensity - a.intensity).slice(0, width < 420 ? 3 : 5);
  return plot({
    width,
    height: 190,
    marginLeft: 36,
    marginTop: 18,
    marginBottom: 34,
    x: { label: "2θ (°)", labelAnchor: "right", ticks: Math.max(4, Math.floor(width / 80)), nice: true },
    y: { label: "intensity", domain: [0, 108], ticks: [0, 50, 100], grid: true },
    marks: [
      Plot.ruleX(rows, { x: "angle", y: "intensity", stroke: "var(--accent)", strokeWidth: 1.6 }),
      Plot.text(strongest, { x: "angle", y: "intensity", text: "hkl", dy: -8, fill: "var(--ink-2)", fontSize: 10.5 }),
      Plot.ruleY([0], { stroke: "var(--line-2)" }),
      Plot.tip(rows, Plot.pointerX({
        x: "angle", y: "intensity", fill: "var(--surface)", stroke: "var(--line-2)",
        title: (d) => `${d.hkl}\n2θ ${number(d.angle, 2)}°\nintensity ${number(d.intensity, 1)}`,
      })),
    ],
  });
}

export function powderPlot(powder) {
  const rows = peaks(powder);
  if (!rows.length) return null;
  const top = rows.reduce((best, row) => (row.intensity > best.intensity ? row : best));
  return figure({
    title: "Powder pattern",
    label: `${rows.length} reflections; the strongest is ${top.hkl} at ${number(top.angle, 2)} degrees`,
    draw: (width) => drawn(rows, width),
    caption: `Calculated for ${String(powder.wavelength ?? "CuKa").replace("Ka", " Kα")} radiation; strongest reflection ${top.hkl} at ${number(top.angle, 2)}°.`,
    table: () => ({
      head: ["hkl", "2θ (°)", "intensity"],
      rows: rows.map((row) => [row.hkl, number(row.angle, 2), number(row.intensity, 1)]),
    }),
    level: 4,
  });
}
