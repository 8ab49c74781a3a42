// Phonon bands with the density of states beside them.

import { el } from "./dom.js";
import { figure, plot } from "./figure.js";
import { number } from "./format.js";

function bandsPlot({ x, frequencies, ticks }, domain, width) {
  const rows = frequencies.flatMap((band, z) => band.map((frequency, i) => ({ x: x[i], frequency, z })));
  return plot({
    width,
    height: 240,
    marginLeft: 44,
    marginBottom: 26,
    x: { axis: null },
    y: { domain, label: "frequency (THz)", grid: true },
    marks: [
      Plot.ruleX(ticks ?? [], { x: "x", stroke: "var(--line-2)" }),
      Plot.text(ticks ?? [], { x: "x", text: "label", frameAnchor: "bottom", dy: 18, fill: "var(--ink-2)" }),
      Plot.line(rows, { x: "x", y: "frequency", z: "z", stroke: "var(--accent)", strokeWidth: 1.2 }),
      Plot.ruleY([0], { stroke: "var(--ink-2)", strokeDasharray: "3 3" }),
    ],
  });
}

function densityPlot({ frequency, density }, domain, width) {
  const rows = frequency.map((each, i) => ({ frequency: each, density: density[i] }));
  return plot({
    width,
    height: 240,
    marginLeft: 8,
    marginBottom: 26,
    x: { label: "states", ticks: [], labelAnchor: "center" },
    y: { domain, axis: null },
    marks: [
      Plot.areaX(rows, { y: "frequency", x: "density", fill: "var(--accent-soft)" }),
      Plot.lineX(rows, { y: "frequency", x: "density", stroke: "var(--accent)", strokeWidth: 1.2 }),
      Plot.ruleY([0], { stroke: "var(--ink-2)", strokeDasharray: "3 3" }),
    ],
  });
}

function limits({ bands, dos }) {
  const all = [...(bands?.frequencies.flat() ?? []), ...(dos?.frequency ?? []), 0];
  return [Math.min(...all), 1.04 * Math.max(...all)];
}

export function phononPlot(phonons) {
  if (!phonons.bands && !phonons.dos) return null;
  const domain = limits(phonons);
  const beside = phonons.bands && phonons.dos ? 0.28 : phonons.dos ? 1 : 0;
  const draw = (width) =>
    el(
      "div",
      { class: "side-by-side" },
      phonons.bands ? bandsPlot(phonons.bands, domain, Math.floor(width * (1 - beside))) : null,
      phonons.dos ? densityPlot(phonons.dos, domain, Math.floor(width * beside)) : null,
    );
  return figure({
    title: "Phonons",
    label: `Phonon frequencies from ${number(domain[0])} to ${number(domain[1] / 1.04)} THz`,
    draw,
    caption: phonons.text,
    table: phonons.bands
      ? () => ({
          head: ["band", "lowest (THz)", "highest (THz)"],
          rows: phonons.bands.frequencies.map((band, i) => [String(i + 1), number(Math.min(...band), 3), number(Math.max(...band), 3)]),
        })
      : null,
    level: 4,
  });
}
