// What was asked, in words, and what came out.

import { el } from "./dom.js";
import { date, plural } from "./format.js";
import { asked, candidates, found, material, report, targets, targetText } from "./report_data.js";

function headline() {
  if (report.headline) return report.headline;
  const count = report.found ?? candidates.length;
  if (report.asked) return `${count === 0 ? "No" : count} ${report.asked}`;
  if (targets.length) return `${count === 0 ? "No" : count} ${material(count)} with ${targets.map((t) => `${t.label} ${targetText(t)}`).join(", ")}`;
  return report.title ?? "matgen report";
}

function outcome() {
  const parts = [];
  if (report.wanted) parts.push(`${plural(report.found ?? candidates.length, "candidate")} found of ${report.wanted} asked for`);
  const rejected = report.rejected?.count;
  if (rejected) {
    const [first] = report.rejected.reasons ?? [];
    parts.push(`${found ? `${plural(rejected, "proposal")} rejected` : `${rejected} did not pass`}${first ? `, most often: ${first.text} (${first.count})` : ""}`);
  }
  return parts.length ? `${parts.join("; ")}.` : "";
}

export function heading() {
  const run = report.run ?? {};
  const about = [report.command ? `matgen ${report.command}` : null, run.created ? date(run.created) : null, run.state].filter(Boolean);
  return el(
    "div",
    { class: "heading" },
    el("p", { class: "eyebrow" }, about.join(" · ")),
    el("h1", {}, headline()),
    outcome() ? el("p", { class: "lead" }, outcome()) : null,
    asked.length
      ? el("ul", { class: "targets", "aria-label": "Targets" }, asked.map((t) => el("li", {}, el("span", {}, t.of ? `${t.of}: ${t.label}` : t.label), el("strong", {}, targetText(t)))))
      : null,
    (run.notes ?? []).map((text) => el("p", { class: "note", role: "note" }, text)),
  );
}
