// All that is known of one candidate.

import { el } from "./dom.js";
import { elasticTable } from "./elastic_table.js";
import { asTable } from "./figure.js";
import { formula, plural, shown, spaceGroup } from "./format.js";
import { hullOf } from "./hull_figure.js";
import { icon } from "./icons.js";
import { hasSpread, intervalPlots, predictionTable } from "./interval_plot.js";
import { step } from "./keys.js";
import { phononPlot } from "./phonon_plot.js";
import { powderPlot } from "./powder_plot.js";
import { candidate, columns, value } from "./report_data.js";
import { firstPrinciples, nearest, phononVerdict, stability } from "./stability.js";
import { state, subscribe } from "./store.js";
import { atoms, fileButtons, latticeFacts } from "./structure_facts.js";
import { trajectory } from "./trajectory.js";
import { badge, verdictList } from "./verdict_parts.js";
import { stillPanel, viewerPanel } from "./viewer_panel.js";
import { waterfall } from "./waterfall.js";

function title(one) {
  const size = one.n_atoms ? `${plural(one.n_atoms, "atom")}${one.lattice ? " in the primitive cell" : ""}` : null;
  const named = one.name && one.name !== one.formula && one.name !== one.id ? one.name : null;
  return [
    el("h3", { id: "detail-title", tabindex: -1 }, formula(one.formula ?? one.name ?? one.id)),
    el(
      "p",
      { class: "detail-line" },
      one.spacegroup ? el("span", {}, spaceGroup(one.spacegroup), ` (${one.spacegroup.number})`) : null,
      size ? el("span", {}, size) : null,
      named ? el("span", {}, named) : null,
      el("code", {}, one.id),
      badge(one),
    ),
  ];
}

function neighboursInList() {
  const button = (by, name, label) =>
    el("button", { type: "button", class: "button small", "aria-label": label, on: { click: () => step(by) } }, icon(name));
  const at = state.shown.indexOf(state.selected);
  return el(
    "div",
    { class: "steps no-print" },
    el("span", { class: "quiet" }, at < 0 ? "filtered out of the list" : `${at + 1} of ${state.shown.length}`),
    button(-1, "previous", "Previous candidate"),
    button(1, "next", "Next candidate"),
  );
}

function values(one) {
  const known = columns().filter(({ key }) => value(one, key) !== null);
  if (!known.length) return null;
  return el(
    "details",
    { class: "as-table" },
    el("summary", {}, `All ${known.length} values`),
    el("dl", { class: "all-values" }, known.map((column) => [el("dt", {}, column.label), el("dd", {}, `${shown(value(one, column.key), column)} ${column.unit ?? ""}`)])),
  );
}

// What the run has to say beside its verdicts, and why a part is missing.
function notes(one) {
  const { relaxation, remarks = [], missing = {} } = one;
  const relaxed = relaxation
    ? `Relaxed ${relaxation.potential ? `by ${relaxation.potential} ` : ""}in ${plural(relaxation.steps ?? 0, "step")}${relaxation.converged ? "" : "; not converged"}.`
    : null;
  const all = [one.template ? `Template ${one.template}.` : null, one.smiles ? `SMILES ${one.smiles}` : null, relaxed, ...remarks, ...Object.values(missing)].filter(Boolean);
  return all.length ? el("div", { class: "block wide" }, el("h4", {}, "Notes"), all.map((text) => el("p", { class: "quiet" }, text))) : null;
}

// Each of these is a block or null where the run has nothing to say.
function blocks(one) {
  const predictions = one.predictions?.length
    ? el(
        "div",
        { class: "block wide" },
        el("h4", {}, "Predictions"),
        el("div", { class: "interval-plots" }, intervalPlots(one.predictions)),
        one.predictions.some(hasSpread) ? el("p", { class: "quiet" }, "Thick: spread of the data (aleatoric). Thin: total spread, with that of the networks (epistemic). Shaded: the target.") : null,
        asTable(() => predictionTable(one.predictions), "Predictions"),
      )
    : null;
  const verdicts = one.verdicts?.length ? el("div", { class: "block wide" }, el("h4", {}, "Verdicts"), verdictList(one.verdicts)) : null;
  const drawn = [
    one.energy_terms?.length ? waterfall(one.energy_terms) : null,
    one.powder?.two_theta?.length ? powderPlot(one.powder) : null,
    one.phonons ? phononPlot(one.phonons) : null,
    hullOf(one),
  ].filter(Boolean);
  return [
    predictions,
    verdicts,
    stability(one),
    nearest(one),
    firstPrinciples(one),
    phononVerdict(one),
    drawn.map((node) => el("div", { class: "block wide" }, node)),
    one.elasticity ? elasticTable(one.elasticity) : null,
    notes(one),
  ];
}

function plain(one) {
  return el("p", { class: "quiet" }, `Of ${one.formula ?? one.id} this report holds the row of the table only.`);
}

export function candidateDetail(one, { still = false } = {}) {
  const hasMore = !one.brief && (one.structure || one.verdicts?.length || one.predictions?.length);
  return [
    el("div", { class: "detail-head" }, el("div", {}, title(one)), still ? null : neighboursInList()),
    hasMore
      ? el(
          "div",
          { class: "detail-body" },
          el(
            "div",
            { class: "detail-structure" },
            still ? (one.structure?.symbols ? stillPanel(one) : null) : viewerPanel(one),
            latticeFacts(one),
            still ? null : [fileButtons(one), atoms(one)],
            !still && one.walk?.frames?.length > 1 ? trajectory(one) : null,
          ),
          el("div", { class: "detail-blocks" }, blocks(one)),
        )
      : plain(one),
    values(one),
  ];
}

export function detail() {
  const box = el("article", { class: "detail", "aria-labelledby": "detail-title" });
  const draw = () => {
    const one = candidate(state.selected);
    box.hidden = !one;
    if (one) box.replaceChildren(...candidateDetail(one).flat(Infinity).filter(Boolean));
  };
  const place = () => {
    const steps = box.querySelector(".steps");
    if (steps) steps.replaceWith(neighboursInList());
  };
  subscribe(["selected"], draw);
  subscribe(["shown"], place);
  draw();
  return box;
}

export function goToDetail() {
  const head = document.getElementById("detail-title");
  head?.focus({ preventScroll: true });
  head?.closest(".detail").scrollIntoView({ block: "start" });
}
