// The sections of the page, in order; each says why it is empty where its data is missing.

import { candidateCards } from "./candidate_cards.js";
import { candidateTable } from "./candidate_table.js";
import { compareStrip } from "./compare.js";
import { detail } from "./detail.js";
import { el } from "./dom.js";
import { whole } from "./format.js";
import { histograms } from "./histogram.js";
import { hullChoice } from "./hull_figure.js";
import { mapFigure } from "./map_plot.js";
import { dataTable } from "./figure.js";
import { metricsFigure, metricsTable } from "./metrics_plot.js";
import { candidates, found, report, things } from "./report_data.js";
import { reasons, runFacts } from "./run_facts.js";
import { sankeyFigure } from "./sankey.js";
import { state, subscribe } from "./store.js";
import { toolbar } from "./toolbar.js";

function missing(key) {
  const why = report.missing?.[key];
  return why ? el("p", { class: "quiet missing" }, why) : null;
}

function candidateSection() {
  if (!candidates.length) {
    if (report.command === "evaluate") return null;
    return [el("p", { class: "empty" }, report.missing?.candidates ?? "This run has no candidates.")];
  }
  const count = el("p", { class: "quiet", role: "status" });
  const [table, cards] = [el("div"), el("div")];
  table.append(candidateTable());
  cards.append(candidateCards());
  const say = () => {
    const [shown, all] = [state.shown.length, candidates.length];
    count.textContent = shown === all ? `All ${whole(all)} ${things(all)}` : shown ? `${whole(shown)} of ${whole(all)} ${things(all)}` : `No ${things(1)} fits these filters.`;
  };
  const view = () => {
    table.hidden = state.view !== "table";
    cards.hidden = state.view !== "cards";
  };
  subscribe(["shown"], say);
  subscribe(["view"], view);
  say();
  view();
  return [toolbar(), count, table, cards, compareStrip(), detail()];
}

function grid(nodes) {
  const drawn = nodes.filter(Boolean);
  return drawn.length ? el("div", { class: "figures" }, drawn) : null;
}

function overview() {
  return [
    grid([
      report.map ? mapFigure(report.map) : null,
      ...histograms(),
      reasons(report.rejected),
      report.stages?.length ? sankeyFigure(report.stages) : null,
    ]),
    missing("map"),
    missing("histogram"),
    missing("stages"),
  ];
}

function hulls() {
  return [hullChoice(), missing("hulls")];
}

function metrics() {
  if (!report.metrics?.length) return [missing("metrics")];
  return [grid([metricsFigure(report.metrics)]), dataTable(metricsTable(report.metrics), "Figures of the set")];
}

const SECTIONS = [
  { id: "section-metrics", short: "Figures", title: "Figures of the set", make: metrics },
  { id: "section-candidates", short: found ? "Candidates" : "Structures", title: found ? "Candidates" : "Structures", make: candidateSection },
  { id: "section-overview", short: "Overview", title: "The whole run", make: overview },
  { id: "section-hulls", short: "Hulls", title: "Stability among known phases", make: hulls },
  { id: "section-run", short: "Run", title: "How this was made", make: runFacts },
];

function filled({ id, short, title, make }) {
  const content = [make()].flat(Infinity).filter(Boolean);
  if (!content.length) return null;
  return { id, short, node: el("section", { id, "aria-labelledby": `${id}-title` }, el("h2", { id: `${id}-title` }, title), content) };
}

export function sections() {
  return SECTIONS.map(filled).filter(Boolean);
}
