// How the run was made: command, options, potential, weights.

import { el } from "./dom.js";
import { date, seconds, whole } from "./format.js";
import { found, report } from "./report_data.js";

function fact(label, found) {
  return found === null || found === undefined || found === "" ? null : [el("dt", {}, label), el("dd", {}, found)];
}

function quoted(text) {
  return /^[\w.,:=/+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

function command(run) {
  const options = (run.options ?? []).flat().map(String).filter((part) => part !== "");
  return ["matgen", report.command, ...options.map(quoted)].join(" ");
}

export function runFacts() {
  const run = report.run ?? {};
  return [
    el("p", {}, el("code", { class: "command" }, command(run))),
    el(
      "dl",
      { class: "all-values" },
      fact("Made", run.created ? date(run.created) : null),
      fact("Version of matgen", run.version),
      fact("State", run.state),
      fact("Time", Number.isFinite(run.seconds) ? seconds(run.seconds) : null),
      fact("Potential", run.potential),
      fact("Weights", run.weights?.length ? run.weights.join(", ") : null),
    ),
  ];
}

export function reasons(rejected) {
  const list = rejected?.reasons ?? [];
  if (!list.length) return null;
  const most = Math.max(...list.map(({ count }) => count));
  return el(
    "div",
    { class: "figure" },
    el("h3", { class: "figure-title" }, found ? "Why proposals were rejected" : "Why structures did not pass"),
    el(
      "ul",
      { class: "reasons" },
      list.map(({ text, count }) => {
        const bar = el("span", { class: "reason-bar", "aria-hidden": "true" });
        bar.style.width = `${(100 * count) / most}%`;
        return el("li", {}, el("span", { class: "reason-text" }, text), el("span", { class: "number" }, whole(count)), bar);
      }),
    ),
  );
}
