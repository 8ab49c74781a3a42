// Small pictures on a 16 × 16 grid. They never stand alone: a word or a label goes with each.

import { svg } from "./dom.js";

const PATHS = {
  passed: "M3 8.5l3.2 3.2L13 5",
  failed: "M4 4l8 8M12 4l-8 8",
  open: "M4 8h8",
  partly: "M8 3.5v5.5M8 12.2v.3",
  previous: "M10 3L5 8l5 5",
  next: "M6 3l5 5-5 5",
  up: "M4 10l4-4 4 4",
  down: "M4 6l4 4 4-4",
  copy: "M6 6h7v7H6zM3 10V3h7",
  download: "M8 2v8M4.5 7L8 10.5 11.5 7M3 13.5h10",
  print: "M4.5 6V2.5h7V6M4.5 11H2.5V6h11v5h-2M4.5 9h7v4.5h-7z",
  theme: "M8 2.5a5.5 5.5 0 1 0 0 11zM8 2.5a5.5 5.5 0 0 1 0 11",
  search: "M7 2.8a4.2 4.2 0 1 0 0 8.4 4.2 4.2 0 0 0 0-8.4zM10.2 10.2L13.5 13.5",
  table: "M2.5 3.5h11v9h-11zM2.5 6.5h11M2.5 9.5h11M6.5 3.5v9",
  cards: "M2.5 2.5h4.5v4.5H2.5zM9 2.5h4.5v4.5H9zM2.5 9h4.5v4.5H2.5zM9 9h4.5v4.5H9z",
  columns: "M2.5 3h11v10h-11zM6.2 3v10M9.8 3v10",
  ranges: "M2.5 5h11M2.5 11h11M6 3.4v3.2M10 9.4v3.2",
  compare: "M8 2v12M2.5 4.5h3v7h-3zM10.5 4.5h3v7h-3z",
  play: "M5 3l8 5-8 5z",
  pause: "M5 3v10M11 3v10",
  close: "M4 4l8 8M12 4l-8 8",
  reset: "M3.2 6A5.2 5.2 0 1 1 3 9.5M3 2.5V6h3.5",
};

export function icon(name) {
  return svg(
    "svg",
    { class: `icon icon-${name}`, viewBox: "0 0 16 16", width: 16, height: 16, "aria-hidden": "true", focusable: "false" },
    svg("path", { d: PATHS[name] }),
  );
}
