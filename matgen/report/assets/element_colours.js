// Colours and radii of elements, as the page was given them.

import { report } from "./report_data.js";

const UNKNOWN = { name: "unknown element", colour: "#c060c0", radius: 1.2, metal: false, electronegativity: null };

export function element(symbol) {
  return report.elements?.[symbol] ?? UNKNOWN;
}

export function elementsOf(structure) {
  return [...new Set(structure.symbols)];
}
