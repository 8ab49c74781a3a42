// Verdicts: a picture and a word for each outcome, so that colour is not needed.

import { el } from "./dom.js";
import { words } from "./format.js";
import { icon } from "./icons.js";
import { isAccepted, passesAll, verdictCounts } from "./report_data.js";

export function outcome(passed) {
  if (passed === true) return { name: "passed", text: "passed" };
  if (passed === false) return { name: "failed", text: "failed" };
  return { name: "open", text: "not assessed" };
}

export function badge(one) {
  const { passed, failed, all } = verdictCounts(one);
  const kind = passesAll(one) ? "passed" : isAccepted(one) ? "partly" : "failed";
  const text = all ? (failed ? `${failed} failed` : `${passed} of ${all}`) : kind === "passed" ? "accepted" : "rejected";
  return el("span", { class: `badge badge-${kind}` }, icon(kind), text);
}

export function verdictList(verdicts) {
  const order = { failed: 0, open: 1, passed: 2 };
  const rows = verdicts
    .map((verdict) => ({ ...verdict, outcome: outcome(verdict.passed) }))
    .sort((a, b) => order[a.outcome.name] - order[b.outcome.name]);
  return el(
    "ul",
    { class: "verdicts" },
    rows.map((verdict) =>
      el(
        "li",
        { class: `verdict verdict-${verdict.outcome.name}` },
        el("span", { class: "verdict-mark" }, icon(verdict.outcome.name), el("span", { class: "visually-hidden" }, `${verdict.outcome.text}: `)),
        el("span", { class: "verdict-name" }, verdict.label ?? words(verdict.name)),
        el("span", { class: "verdict-reason" }, verdict.reason ?? ""),
      ),
    ),
  );
}
