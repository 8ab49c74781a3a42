// What the reader has chosen. Parts subscribe to the changes that concern them.

import { remember, remembered } from "./dom.js";
import { candidate, candidates, report } from "./report_data.js";

const KEY = `matgen report: ${location.pathname} ${report.title ?? ""}`; // `matgen serve` shows many runs, some of one title
const listeners = [];

export const state = {
  selected: candidates[0]?.id ?? null,
  shown: candidates.map((one) => one.id),
  compared: [],
  view: "table",
  sort: { key: "rank", descending: false },
  query: "",
  verdict: "",
  ranges: {},
  columns: null,
  page: 0,
};

const KEPT = ["selected", "compared", "view", "sort", "query", "verdict", "ranges", "columns"];

export function subscribe(keys, act) {
  listeners.push({ keys, act });
}

export function change(changes) {
  Object.assign(state, changes);
  remember("sessionStorage", KEY, JSON.stringify(Object.fromEntries(KEPT.map((key) => [key, state[key]]))));
  const changed = Object.keys(changes);
  for (const { keys, act } of listeners) if (keys.some((key) => changed.includes(key))) act();
}

export function select(id) {
  if (id === state.selected || !candidate(id)) return;
  change({ selected: id });
  history.replaceState(null, "", `#${encodeURIComponent(id)}`);
}

function fromAddress() {
  try {
    return candidate(decodeURIComponent(location.hash.slice(1)))?.id ?? null;
  } catch {
    return null; // a fragment that is no valid encoding names no candidate
  }
}

function before() {
  try {
    return JSON.parse(remembered("sessionStorage", KEY)) ?? {};
  } catch {
    return {}; // what another program wrote there is no choice of the reader
  }
}

// After a reload the reader finds what was chosen before; the address has the last word.
export function restore() {
  const kept = before();
  for (const key of KEPT) if (kept[key] !== undefined) state[key] = kept[key];
  state.compared = state.compared.filter(candidate);
  state.selected = fromAddress() ?? candidate(state.selected)?.id ?? candidates[0]?.id ?? null;
  window.addEventListener("hashchange", () => {
    const id = fromAddress();
    if (id) change({ selected: id });
  });
}

export const MOST_COMPARED = 4;

export function toggleCompared(id) {
  const rest = state.compared.filter((other) => other !== id);
  if (rest.length === state.compared.length) rest.push(id);
  change({ compared: rest.slice(-MOST_COMPARED) });
}
