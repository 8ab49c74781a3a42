// How the run was made: command, options, potential, weights.

import { el } from "./dom.js";
import { date, seconds, whole } from "./format.js";
import { found, report } from "./report_data.js";

function fact(label, found) {
  return found === null || found === undefined || found === "" ? null : [el("dt", {}, label), el("dd", {}, found)];
}

// The command as it was given; of a run that did not keep it the settings, which are no command.
function command(run) {
  if (run.command_line) return el("p", {}, el("code", { class: "command" }, run.command_line));
  if (!run.options?.length) return null;
  const settings = run.options.map(([name, ...texts]) => [el("dt", {}, name), el("dd", {}, texts.join(" "))]);
  return [el("h3", {}, "Settings other than the usual"), el("dl", { class: "all-values settings" }, settings)];
}

export function runFacts() {
  const run = report.run ?? {};
  return [
    command(run),
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
