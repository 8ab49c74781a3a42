// The data of the page, and what the parts ask of it.

function read() {
  return JSON.parse(document.getElementById("data").textContent);
}

export const report = read();
export const candidates = report.candidates ?? [];
export const targets = report.targets ?? [];

const byId = new Map(candidates.map((candidate) => [candidate.id, candidate]));

export function candidate(id) {
  return byId.get(id) ?? null;
}

export function columns() {
  return report.columns ?? [];
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

export function targetOf(key) {
  return targets.find((target) => target.name === key) ?? null;
}

export function material(count) {
  const one = report.kind === "molecule" ? "molecule" : "crystal";
  return count === 1 ? one : `${one}s`;
}
