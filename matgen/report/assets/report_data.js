// The data of the page, and what the parts ask of it.

function read() {
  return JSON.parse(document.getElementById("data").textContent);
}

// Rows beyond the candidates that the report holds in full: a list of keys, and a list of values for each row.
function unpacked(rest, before) {
  return (rest?.rows ?? []).map((row, i) => {
    const { id, formula, accepted, ...values } = Object.fromEntries(rest.keys.map((key, at) => [key, row[at]]));
    return { id, formula, accepted: Boolean(accepted), rank: before + i + 1, values, brief: true };
  });
}

export const report = read();
export const candidates = [...(report.candidates ?? []), ...unpacked(report.rest, report.candidates?.length ?? 0)];
export const targets = report.targets ?? [];

// Of an interpolation, the targets of both requests, which weigh but need not be met; `of` names the request.
const ofEnds = (report.ends ?? []).flatMap(({ name, targets: asked }) => asked.map((target) => ({ ...target, of: name })));
export const asked = [...targets, ...ofEnds];

// Each property that was asked for, once.
export const askedProperties = [...new Map(asked.map((target) => [target.name, target])).values()];

const byId = new Map(candidates.map((candidate) => [candidate.id, candidate]));

export function candidate(id) {
  return byId.get(id) ?? null;
}

// Formula and space group have columns of their own, which show more than their text.
const OWN = ["rank", "formula", "spacegroup", "accepted"];

export function columns() {
  return (report.columns ?? []).filter(({ key }) => !OWN.includes(key));
}

export function value(one, key) {
  return one.values?.[key] ?? null;
}

// Rows of a large screening carry no verdicts of their own: then `accepted` alone speaks.
export function verdictCounts(one) {
  const verdicts = one.verdicts ?? [];
  return {
    passed: verdicts.filter((verdict) => verdict.passed === true).length,
    failed: verdicts.filter((verdict) => verdict.passed === false).length,
    all: verdicts.length,
  };
}

export function isAccepted(one) {
  return one.accepted ?? verdictCounts(one).failed === 0;
}

// A candidate may be accepted although a check that decides nothing, such as the evaluator's, failed.
export function passesAll(one) {
  return isAccepted(one) && verdictCounts(one).failed === 0;
}

// 1.5 ± 0.25 eV, whether or not the text names its unit already.
export function targetText({ text, unit }) {
  return unit && !text.endsWith(unit) ? `${text} ${unit}` : text;
}

export function targetOf(key) {
  return targets.find((target) => target.name === key) ?? null;
}

// A design finds candidates among proposals; the other commands are given structures.
export const found = report.command === "design";

export function things(count) {
  const one = found ? "candidate" : "structure";
  return count === 1 ? one : `${one}s`;
}

export function material(count) {
  const one = report.kind === "molecule" ? "molecule" : "crystal";
  return count === 1 ? one : `${one}s`;
}
