// Which candidates are shown, and in which order.

import { isNumber } from "./format.js";
import { isAccepted, passesAll, value, verdictCounts } from "./report_data.js";

const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

export function sortValue(one, key) {
  if (key === "rank") return one.rank ?? null;
  if (key === "formula") return one.formula ?? one.name ?? one.id;
  if (key === "spacegroup") return one.spacegroup?.number ?? null;
  if (key === "accepted") return verdictCounts(one).failed + (isAccepted(one) ? 0 : 100);
  return value(one, key);
}

// Missing values come last in both directions; equal ones keep the order of the run.
export function compareBy(key, descending) {
  const sign = descending ? -1 : 1;
  return (one, other) => {
    const [a, b] = [sortValue(one, key), sortValue(other, key)];
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * (isNumber(a) && isNumber(b) ? a - b : collator.compare(a, b));
  };
}

export function matchesText(one, query) {
  const text = [one.formula, one.name, one.id, one.spacegroup?.symbol, one.nearest?.formula].join(" ").toLowerCase();
  return query.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}

// "" for all, "all passed", "some failed", or "failed: NAME", "passed: NAME", "open: NAME".
export function matchesVerdict(one, wanted) {
  if (!wanted) return true;
  if (wanted === "all passed") return passesAll(one);
  if (wanted === "some failed") return !passesAll(one);
  const [outcome, name] = wanted.split(": ");
  const verdict = (one.verdicts ?? []).find((each) => each.name === name);
  if (!verdict) return false;
  return verdict.passed === { passed: true, failed: false, open: null }[outcome];
}

export function matchesRanges(one, ranges) {
  return Object.entries(ranges).every(([key, [low, high]]) => {
    const found = value(one, key);
    if (low === null && high === null) return true;
    return isNumber(found) && (low === null || found >= low) && (high === null || found <= high);
  });
}

export function ordered(all, { query, verdict, ranges, sort }) {
  return all
    .filter((one) => matchesText(one, query) && matchesVerdict(one, verdict) && matchesRanges(one, ranges))
    .sort(compareBy(sort.key, sort.descending));
}
